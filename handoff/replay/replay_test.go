package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ergochat/irc-go/ircmsg"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/ircclient"
	small "github.com/ircferry/ircferry/internal/ircd"
)

func TestDialect(t *testing.T) {
	d := dialectOf("InspIRCd", []string{"CHANMODES=IXbegw,k,HJLfjl,ACK", "PREFIX=(Yqaohv)!~&@%+", "MODES=20", "CASEMAPPING=ascii"})
	if d.lists != "Ibe" || d.always != "k" || d.prefixes != "Yqaohv" || d.modes != 12 || !d.ascii || d.newest {
		t.Errorf("%+v", d)
	}
	if d := dialectOf("ircd", nil); !d.newest || d.modes != 3 || d.fold("#[A]\\^") != "#{a}|~" {
		t.Errorf("%+v", d)
	}
	want, have := d.parse(strings.Fields("+imnkl key 30")), d.parse(strings.Fields("+ntkl other 20"))
	if got := want.String(); got != "+iklmn key 30" {
		t.Errorf("%q", got)
	}
	var words []string
	for _, c := range d.changes(want, have) {
		words = append(words, fmt.Sprintf("%v%c%s", c.set, c.mode, c.param))
	}
	if got := strings.Join(words, " "); got != "falset truem truel30 truekkey truei" {
		t.Errorf("changes %q", got)
	}
	d.modes = 3
	if got := d.lines("#c", d.changes(want, have)); !slices.Equal(got, []string{"MODE #c -t+ml 30", "MODE #c +ki key"}) {
		t.Errorf("%q", got)
	}
	if got := userModes("iwoRr", "ixz"); got != "+wR-x" {
		t.Errorf("user modes %q", got)
	}
}

// What six kinds of ircds say of themselves.
func TestLearn(t *testing.T) {
	for text, want := range map[string][2]int{
		"I have 4 clients and 0 servers":              {3, 0},
		"I have 4 users, 0 services and 2 servers":    {3, 2},
		"I have 12 clients, 1 services and 3 servers": {11, 3},
	} {
		var h protocol.Hello
		learn(&h, ircmsg.MakeMessage(nil, "irc", "255", "me", text))
		if h.Users != want[0] || h.Links != want[1] {
			t.Errorf("%q: %d users, %d links", text, h.Users, h.Links)
		}
	}
}

// rig is the embedded ircd, as a stock one.
type rig struct {
	t    *testing.T
	addr string
	b    *backend.Backend
	d    *Driver
}

func newRig(t *testing.T) *rig {
	t.Helper()
	srv, err := small.New(small.Config{Name: "irc.test", Listen: []small.Listener{{Address: "127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Close() })
	set, err := backend.NewSet(backend.Options{Instance: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	conf := config.Backend{Name: "a", Address: srv.Addr().String(), Driver: config.DriverReplay, Weight: 100}
	pool := config.Pool{Topology: config.Standalone, Backends: []config.Backend{conf},
		Check: config.Check{Inter: config.Duration(time.Hour), Rise: 1, Fall: 3, Timeout: config.Duration(5 * time.Second)}}
	if err := set.Apply(map[string]config.Pool{"main": pool}); err != nil {
		t.Fatal(err)
	}
	b, _ := set.Backend("main/a")
	return &rig{t: t, addr: srv.Addr().String(), b: b, d: New(nil, noProxy{}, slog.New(slog.DiscardHandler))}
}

// noProxy has no sessions, and takes every stream.
type noProxy struct{}

func (noProxy) On(context.Context, string) ([]backend.SessionRef, error) { return nil, nil }
func (noProxy) Interview(context.Context, []backend.Question) []backend.Answered {
	return nil
}
func (noProxy) Adopt(_ context.Context, streams []backend.Adopted) (ms []backend.Moved) {
	for _, s := range streams {
		s.Conn.Close()
		ms = append(ms, backend.Moved{U: s.U})
	}
	return ms
}

func (r *rig) connect() *party {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	p, err := r.d.Connect(ctx, r.b)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { p.Close() })
	return p.(*party)
}

// user is a record of somebody on channels, "o:#a".
func (r *rig) records(u, nick string, channels ...string) (recs []protocol.Message) {
	r.t.Helper()
	rec := backend.UserRecord{U: u, Nick: nick, User: nick, Realname: "The user " + nick, Away: "gone " + nick, Caps: []string{"multi-prefix"},
		Client: backend.Client{U: u, Addr: netip.MustParseAddrPort("198.51.100.7:4000")}}
	m, err := userRecord(rec, "w", 1, 2)
	if err != nil {
		r.t.Fatal(err)
	}
	m.Del("in", "out")
	recs = append(recs, m)
	for _, c := range channels {
		status, name, _ := strings.Cut(c, ":")
		recs = append(recs, protocol.NewMemb(u, name, status).Message)
	}
	return recs
}

func (r *rig) build(p *party, tx string, recs ...protocol.Message) (protocol.Prepared, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	if err := p.Import(ctx, tx, "", time.Minute, "", false); err != nil {
		r.t.Fatal(err)
	}
	for _, rec := range recs {
		if err := p.Record(ctx, rec); err != nil {
			r.t.Fatal(err)
		}
	}
	return p.Prepare(ctx, tx)
}

func channelRecords() []protocol.Message {
	c := &said{modes: settings{'n': "", 't': "", 'i': "", 'l': "9", 'k': "secret"}, ts: 1_600_000_000, topic: "The  topic", topicBy: "ben!x@y", topicAt: 1_600_000_001}
	return []protocol.Message{chanRecord("#c", c), protocol.NewList("#c", "ban", "evil!*@*", "ann", 5).Message, chanRecord("#opless", &said{modes: settings{'m': ""}})}
}

// What was asked from an ircd is there again, as somebody else on it sees it, and what is not is told.
func TestUsersAreMadeAgain(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	if h := p.Info(); h.Name != "irc.test" || h.Users != 0 || h.Unmovable != 0 {
		t.Errorf("%+v", h)
	}
	recs := slices.Concat(channelRecords(), r.records("test.1", "ann", "o:#c", "v:#opless"), r.records("test.2", "ben", "ov:#c"), r.records("test.3", "cat", ":#c", ":#opless"))
	got, err := r.build(p, "tx", recs...)
	if err != nil || got.Users != 3 || len(got.Conflicts) != 0 {
		t.Fatalf("%+v %v", got, err)
	}
	var warned []string
	for _, w := range got.Warns {
		warned = append(warned, w.C+w.U+" "+w.Key)
	}
	slices.Sort(warned)
	if want := []string{"#c list", "#c tat", "#c tby", "#c ts"}; !slices.Equal(warned, want) {
		t.Errorf("warned of %q, want %q: %v", warned, want, got.Warns)
	}
	eve := ircclient.Test(t, r.addr, ircclient.Options{})
	eve.Register("eve")
	for question, want := range map[string]string{
		"WHOIS ann": " 319 eve ann :@#c +#opless", "WHOIS ben": " 319 eve ben :@#c", "WHOIS cat": " 301 eve cat :gone cat",
		"JOIN #c": " 473 eve #c ", "MODE #opless": " 324 eve #opless +m",
	} {
		if lines := eve.Ask(question); !strings.Contains(fmt.Sprint(lines), want) {
			t.Errorf("%s: %v, want %q", question, lines, want)
		}
	}
	done, err := p.Commit(t.Context(), "tx", true, true)
	if err != nil || done.Users != 3 || done.Missing != 0 {
		t.Errorf("%+v %v", done, err)
	}
}

// Somebody has taken a nick meanwhile: he is named, nobody else waits for him, and the next try is without him.
func TestNickTakenAtReturn(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	eve := ircclient.Test(t, r.addr, ircclient.Options{})
	eve.Register("ann")
	recs := slices.Concat(channelRecords(), r.records("test.1", "ann", "o:#c"), r.records("test.2", "ben", ":#c"))
	got, err := r.build(p, "tx", recs...)
	if err != nil || len(got.Conflicts) != 1 || got.Conflicts[0].U != "test.1" || got.Conflicts[0].Code != "nick-in-use" {
		t.Fatalf("%+v %v", got, err)
	}
	if err := p.Abort(t.Context(), "tx"); err != nil {
		t.Error(err)
	}
	if _, err := p.Commit(t.Context(), "tx", true, true); err == nil {
		t.Error("what was aborted is committed")
	}
	if got, err = r.build(p, "tx2", slices.Concat(channelRecords(), r.records("test.2", "ben", ":#c"))...); err != nil || len(got.Conflicts) != 0 {
		t.Errorf("the next try: %+v %v", got, err)
	}
}

// An ircd that ends in the middle of it makes a try that failed, not users who are lost.
func TestIrcdEndsMeanwhile(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Import(t.Context(), "tx", "", time.Minute, "", false); err != nil {
		t.Fatal(err)
	}
	for _, rec := range slices.Concat(channelRecords(), r.records("test.1", "ann", "o:#c")) {
		if err := p.Record(ctx, rec); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := p.Prepare(ctx, "tx"); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v %v", got, err)
	}
	if s, err := p.Status(t.Context(), "tx"); err != nil || s.Dest != protocol.DestAborted {
		t.Errorf("%+v %v", s, err)
	}
}

// A process is known by the lookout's stream: another one has another epoch, the same one the same.
func TestEpoch(t *testing.T) {
	r := newRig(t)
	p, same := r.connect(), r.connect()
	if p.Info().Epoch == "" || p.Info().Epoch != same.Info().Epoch {
		t.Errorf("%q and %q are one process", p.Info().Epoch, same.Info().Epoch)
	}
	eve := ircclient.Test(t, r.addr, ircclient.Options{})
	eve.Register("eve")
	p.out.quit()
	<-p.out.ended
	if err := p.alive(); err == nil {
		t.Error("its end is not seen")
	}
	next := r.connect()
	if next.Info().Epoch == p.Info().Epoch {
		t.Error("the next one has its epoch")
	}
	if next.Info().Unmovable != 1 {
		t.Errorf("%d users came in past us, want eve", next.Info().Unmovable)
	}
}
