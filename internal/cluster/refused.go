package cluster

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"
)

// Reason says why somebody was not let in: log field and metric label alike.
type Reason string

const (
	RefusedNetwork     Reason = "network"     // not from a network of cluster.allow
	RefusedLabel       Reason = "label"       // of another cluster, or of none
	RefusedKey         Reason = "key"         // has none of our keys
	RefusedCertificate Reason = "certificate" // none, or not of our CA
	RefusedName        Reason = "name"        // its certificate has another name than it says
	RefusedMember      Reason = "member"      // its name is that of no member
	RefusedMany        Reason = "many"        // too many connections
)

// Reasons are all there are.
var Reasons = []Reason{RefusedNetwork, RefusedLabel, RefusedKey, RefusedCertificate, RefusedName, RefusedMember, RefusedMany}

// sayEvery is how often a reason is logged at most: a stranger's packets must not fill the log.
const sayEvery = 10 * time.Second

// refusals counts who was not let in, and says so.
type refusals struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	counts map[Reason]uint64
	said   map[Reason]time.Time
	unsaid map[Reason]int
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{log: log, now: time.Now, counts: map[Reason]uint64{}, said: map[Reason]time.Time{}, unsaid: map[Reason]int{}}
}

// note counts one, and logs the first of its reason in a while, with how many were not.
func (r *refusals) note(why Reason, from, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[why]++
	now := r.now()
	if at, ok := r.said[why]; ok && now.Sub(at) < sayEvery {
		r.unsaid[why]++
		return
	}
	r.log.Warn("not let into the cluster", "reason", string(why), "from", from, "text", text, "more", r.unsaid[why])
	r.said[why], r.unsaid[why] = now, 0
}

func (r *refusals) all() map[Reason]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// strangers are the beginnings of memberlist's lines about somebody who is not let in. It tells of him in no other way; a test with real strangers
// notices if it says so in other words one day.
var strangers = []struct {
	begin string
	why   Reason
}{
	{"discarding packet with unacceptable label", RefusedLabel},
	{"discarding stream with unacceptable label", RefusedLabel},
	{"failed to receive and remove the stream label header", RefusedLabel},
	{"cannot decode label", RefusedLabel},
	{"label header cannot be empty", RefusedLabel},
	{"Decrypt packet failed", RefusedKey},
	{"failed to receive: no installed keys", RefusedKey},
	{"failed to receive: encryption is configured", RefusedKey},
	{"failed to receive: remote node state is larger", RefusedKey},
	{"failed to receive: unsupported encryption version", RefusedKey},
}

// lines takes memberlist's log: "[WARN] memberlist: text from=address".
type lines struct {
	log     *slog.Logger
	refused *refusals
}

// Write implements io.Writer for a log.Logger, which calls it once for each line.
func (l lines) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelInfo
	if rest, ok := strings.CutPrefix(text, "["); ok {
		word, after, _ := strings.Cut(rest, "] ")
		level, text = levelOf(word), after
	}
	text = strings.TrimPrefix(text, "memberlist: ")
	text, from, _ := strings.Cut(text, " from=")
	for _, s := range strangers {
		if strings.HasPrefix(text, s.begin) {
			l.refused.note(s.why, from, text)
			return len(line), nil
		}
	}
	l.log.Log(context.Background(), level, "gossip", "text", text, "from", from)
	return len(line), nil
}

// levelOf is one less than memberlist's: what is an error to it is a packet that was lost, and members and joins are logged by us.
func levelOf(word string) slog.Level {
	switch word {
	case "ERR", "ERROR":
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
