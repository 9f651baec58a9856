package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

const (
	// rehearseTime bounds the rehearsal at one backend; all are rehearsed together.
	rehearseTime = 60 * time.Second
	// guestTime is how long one client may take to be registered. InspIRCd registers once a second, and a look-up of a name that is not
	// answered takes 5 to 10 s.
	guestTime = 15 * time.Second
	// slowGuest is what a registration without look-ups does not take: two of InspIRCd's ticks and half a second.
	slowGuest = 2500 * time.Millisecond

	// A burst is what is said for one user who comes back: it must not be answered later than slowBurst.
	burstChannels = 10
	burstTime     = 12 * time.Second
	slowBurst     = 1500 * time.Millisecond
)

// crowd is by how many clients the rehearsal grows at a time: 40 in all, more than any of the ircds lets in of one address by default (Ergo: 16
// at once, 32 in 10 minutes). It ends with the first refusal, so that an ircd that bans after some more is not driven to it.
var crowd = [...]int{1, 2, 4, 8, 24}

// Rehearse does at every backend without the driver what the return of its users would: many clients at once, and a burst of commands of one of
// them. It says what the ircd's configuration refuses or slows, and the lines that lift it. It is for `ircferry check --probe`, beside Probe. An ircd that counts
// connections may ban our address for a while, as it would when the users come.
func Rehearse(ctx context.Context, cfg config.Config) []config.Finding {
	ctx, cancel := context.WithTimeout(ctx, rehearseTime)
	defer cancel()
	return eachBackend(cfg, func(p prober, pool config.Pool, c config.Backend) {
		if pl, err := planOf(pool, c); err == nil && !c.Native() {
			(&rehearsal{prober: p, pl: pl}).run(ctx)
		}
	})
}

// rehearsal is the one at a backend. Its guests stay until it is over.
type rehearsal struct {
	prober
	pl   plan
	kind kind
	site site

	mu     sync.Mutex
	known  []netip.AddrPort
	asked  uint8 // clients who were invited
	guests []*guest
}

// guest is a client that stays.
type guest struct {
	*inquiry
	took time.Duration
	err  error
	full string // 405: it may be on no more channels
}

func (r *rehearsal) run(ctx context.Context) {
	defer r.leave()
	first := r.invite(ctx)
	if first == nil {
		return // Probe says that nobody is there
	}
	r.kind = cmp.Or(kindOf(first.software), kindOfRefusal(first.err))
	r.site = site{ours: addrPort(first.conn.LocalAddr()).Addr().Unmap(), port: r.pl.port, password: r.pl.conf.WebIRCPasswordFile}
	switch {
	case first.err != nil && r.pl.conf.Identity == config.IdentityWebIRC && aboutWebIRC(first.err.Error()):
		r.warn(identity, fmt.Sprintf("it does not know us as a gateway: %v", first.err))
		return
	case first.err != nil:
		r.warn(many, fmt.Sprintf("it does not take the first client: %v", first.err))
		return
	case first.op.doubt != "":
		r.warn(identity, "it does not believe who a client is: "+first.op.doubt)
	}
	if first.took > slowGuest {
		r.warn(lookups, fmt.Sprintf("it took %.1f s to register one client: it looks up names or idents", first.took.Seconds()))
	}
	before := len(*r.found)
	came := r.comeMany(ctx)
	took := first.burst()
	switch {
	case first.err != nil:
		r.warn(lag, fmt.Sprintf("a client that said %d lines at once was thrown out: %v", burstLines, first.err))
	case took > slowBurst:
		r.warn(lag, fmt.Sprintf("%d lines of one client were answered after %s: it delays what is said fast", burstLines, atMost(took)))
	}
	if first.full != "" {
		r.warn(channels, fmt.Sprintf("a client could not be on %d channels: %s", burstChannels, first.full))
	}
	if len(*r.found) == before {
		r.add(config.SeverityOK, "rehearsal at %s: %s took %d clients at once, and answered %d lines of one within %d ms", r.pl.conf.Address,
			cmp.Or(first.software, "the ircd"), came, burstLines, took.Milliseconds())
	}
}

func atMost(d time.Duration) string {
	if d >= burstTime {
		return fmt.Sprintf("more than %.0f s", burstTime.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// warn says what is refused, and the lines that lift it.
func (r *rehearsal) warn(t trouble, text string) {
	r.add(config.SeverityWarning, "rehearsal at %s: %s%s", r.pl.conf.Address, text, remedy(r.kind, t, r.pl.conf.Identity, r.site))
}

// comeMany lets ever more clients come, up to the first who is refused, and answers how many are in.
func (r *rehearsal) comeMany(ctx context.Context) int {
	for _, n := range crowd {
		got := make([]*guest, n)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { got[i] = r.invite(ctx) })
		}
		wg.Wait()
		for _, g := range got {
			if g == nil || g.err != nil {
				err := errors.New("it does not answer the connect")
				if g != nil {
					err = g.err
				}
				r.warn(many, fmt.Sprintf("with %d clients there, of %d more who came at once one was refused: %v", len(r.guests)-failedOf(r.guests), n, err))
				return 0
			}
		}
	}
	return len(r.guests)
}

func failedOf(guests []*guest) (n int) {
	for _, g := range guests {
		if g.err != nil {
			n++
		}
	}
	return n
}

// invite connects a client and has it registered. nil: there is nobody to connect to.
func (r *rehearsal) invite(ctx context.Context) *guest {
	ctx, cancel := context.WithTimeout(ctx, guestTime)
	defer cancel()
	began := time.Now()
	g, f, err := find(ctx, network(), r.pl, r.addresses(), func(ctx context.Context, conn net.Conn) (*guest, error) {
		conn, err := r.pl.secure(ctx, conn)
		if err != nil {
			return nil, err
		}
		return r.come(ctx, conn), nil
	}, func(late *guest) { late.conn.Close() })
	if err != nil {
		return nil
	}
	g.took = time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = firstOf(f.known, f.at)
	r.guests = append(r.guests, g)
	return g
}

func (r *rehearsal) addresses() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known
}

// come says who the client is, and reads until the ircd has said that it is one of its users, all of its welcome.
func (r *rehearsal) come(ctx context.Context, conn net.Conn) *guest {
	r.mu.Lock()
	r.asked++
	who := caller{as: testNet(r.asked), register: true}
	r.mu.Unlock()
	g := &guest{}
	g.inquiry, g.err = ask(ctx, conn, r.pl, who)
	switch {
	case g.err != nil:
	case g.op.unsure != "" && g.software == "":
		g.err = errors.New(g.op.unsure)
	default:
		g.err = g.fence(nil)
	}
	return g
}

func (r *rehearsal) leave() {
	var wg sync.WaitGroup
	for _, g := range r.guests {
		wg.Go(func() {
			g.conn.SetDeadline(time.Now().Add(goodbyeTime))
			if g.err == nil {
				g.leave()
			}
			g.conn.Close()
		})
	}
	wg.Wait()
}

// fence reads up to the answer to a PING, and tells see of each line before it.
func (q *inquiry) fence(see func(said)) error {
	token := "ferry-" + newNick()
	q.say("PING " + token)
	for range maxWelcome {
		line, err := q.next()
		switch {
		case err != nil && len(q.refusal) > 0:
			return errors.New(strings.Join(q.refusal, ", "))
		case err != nil:
			return err
		case line.verb == "PONG" && line.last() == token:
			return nil
		case line.refuses():
			q.refusal = append(q.refusal, line.words())
		case see != nil:
			see(line)
		}
	}
	return errors.New("too many lines")
}

// burstLines is what burst says before its fence.
const burstLines = 4 * burstChannels

// burst says at once what is said for one user on some channels, and answers when the ircd had run it.
func (g *guest) burst() time.Duration {
	g.conn.SetDeadline(time.Now().Add(burstTime))
	lines := make([]string, 0, burstLines)
	for i := range burstChannels {
		name := fmt.Sprintf("#%s-%d", g.nick, i)
		lines = append(lines, "JOIN "+name, "MODE "+name, "TOPIC "+name, "MODE "+name+" b")
	}
	began := time.Now()
	g.say(strings.Join(lines, "\r\n"))
	err := g.fence(func(line said) {
		if line.verb == "405" { // ERR_TOOMANYCHANNELS
			g.full = cmp.Or(g.full, line.words())
		}
	})
	took := time.Since(began)
	if !isTimeout(err) {
		g.err = err
	}
	return took
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
