package backend

import (
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// proof is how a check by irc learns more than that somebody answers: it registers a user, which shows whether the ircd lets clients in, and
// whether it believes who they are. Ircds tell their operators of each user and count them, so it is done at the first check and after
// each reload, while the backend is down, when clients are turned away, and else every check.register only.
type proof struct {
	due   time.Time // zero: at the next check
	doubt string    // that the ircd does not believe who a client is
	turn  uint8     // of testNet
}

// doubtAgain is how soon a doubt is looked at again.
const doubtAgain = time.Minute

// nextCaller is who the next check is.
func (b *Backend) nextCaller() caller {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proof.turn++
	every := b.plan.check.Register.D()
	return caller{as: testNet(b.proof.turn), register: every > 0 && (b.health.oper == Down || !time.Now().Before(b.proof.due))}
}

// weighLocked takes in what a check by irc learned of the identity. It answers what has changed, for a person.
func (b *Backend) weighLocked(out outcome) (told string) {
	if b.plan.conf.Native() || b.plan.check.Type != config.CheckIRC || out.err != nil {
		if out.asked {
			b.proof.due = time.Time{}
		}
		return ""
	}
	was := b.proof.doubt
	switch {
	case out.opinion.doubt != "":
		b.proof.doubt = out.opinion.doubt
	case out.asked && out.opinion.unsure == "":
		b.proof.doubt = ""
		b.turned = turned{}
	}
	if out.asked {
		b.proof.due = out.at.Add(b.plan.check.Register.D())
		if b.proof.doubt != "" {
			b.proof.due = out.at.Add(min(doubtAgain, b.plan.check.Register.D()))
		}
	}
	switch {
	case was != "" && b.proof.doubt == "":
		return "is believed now"
	case was == "" && b.proof.doubt != "":
		return "not believed: " + b.proof.doubt
	}
	return ""
}

const (
	// inDoubt is the pace of checks of a backend that may be down: nobody is there who would count them.
	inDoubt = 2 * time.Second
	// maxSlow bounds the pace for an ircd that refuses checks, in the usual interval.
	maxSlow = 4
)

// pace is the time from a check to the next. An ircd that answers counts connections, and one that refuses them may count on: with it the
// pace gets slower. One that does not answer counts nothing.
func (b *Backend) pace(inter time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.lastErr == "" && b.health.oper == Up:
		return inter
	case b.lastErr == "": // it is back, and rise wants to see it once more
		return min(inter, inDoubt)
	case b.lastReason == ReasonAnswer:
		return inter * time.Duration(min(max(b.health.bad, 1), maxSlow))
	case b.lastReason == ReasonLocal:
		return inter
	}
	return min(inter, inDoubt)
}
