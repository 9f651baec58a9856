package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// Three members find each other, ask each other, hear who goes and who is gone, and nothing of them runs when they have ended.
func TestThreeMembers(t *testing.T) {
	r := newRig(t)
	a := r.start(r.config("a"))
	b := r.start(r.config("b", a))
	c := r.start(r.config("c", a, b))
	for _, m := range []*member{a, b, c} {
		for _, name := range []string{"a", "b", "c"} {
			got := m.knows(name, Alive)
			if !strings.HasPrefix(got.Instance, "i-"+name) || got.Version != "1.0" || got.Pools != "aabb" || got.Self != (m.name == name) || got.Seen.IsZero() {
				t.Errorf("%s knows %+v", m.name, got)
			}
		}
	}
	for _, m := range []*member{b, c} {
		await(t, m.name+" misses nobody", func() bool { return len(m.Wanted().Missing) == 0 && len(m.Wanted().Addresses) > 0 })
	}
	var answer struct{ To, From, Proto string }
	if err := c.Ask(t.Context(), "a", "/x", nil, &answer); err != nil || answer.To != "a" || answer.From != "c" || answer.Proto != "HTTP/2.0" {
		t.Errorf("c asks a: %+v, %v", answer, err)
	}
	var no *Answer
	if err := a.Ask(t.Context(), "b", "/no", map[string]int{"x": 1}, nil); !errors.As(err, &no) || err.Error() != "b: no such thing" {
		t.Errorf("a asks b what it cannot: %v", err)
	}
	if err := a.Ask(t.Context(), "nobody", "/x", nil, nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("a asks nobody: %v", err)
	}
	a.Say(Said{Instance: a.said.Instance, Version: "1.1", Pools: "ccdd"})
	await(t, "b hears what a says", func() bool { m, _ := b.members.get("a"); return m.Version == "1.1" && m.Pools == "ccdd" })

	c.end(t)
	a.knows("c", Left)
	b.knows("c", Left)
	if a.heard("lost", "c") > 0 {
		t.Error("who said that it goes was called lost")
	}
	b.die()
	a.knows("b", Lost)
	if got := a.Others(); len(got) != 1 || got[0] != "b" {
		t.Errorf("a may still ask %v, want b: the gossip may be wrong", got)
	}
	if err := a.Ask(t.Context(), "b", "/x", nil, nil); err == nil {
		t.Error("who is dead answers")
	}
	if m, _ := a.members.get("b"); !strings.Contains(m.Error, "ask b") {
		t.Errorf("the member does not say that it cannot be asked: %+v", m)
	}
	a.end(t)
	await(t, "all goroutines end", func() bool { n, _ := ours(); return n == 0 })
}

// A member that comes back at its old address, with nothing of before, is in at once.
func TestRestartedMemberIsInAtOnce(t *testing.T) {
	r := newRig(t)
	a := r.start(r.config("a"))
	b := r.start(r.config("b", a))
	a.knows("b", Alive)
	for i := range 3 {
		at := b.ours.String()
		b.die()
		k := r.config("b", a)
		k.Bind = at
		b = r.start(k)
		await(t, "a hears of the restart", func() bool { return a.heard("restarted", "b") > i })
		a.knows("b", Alive)
		b.knows("a", Alive)
		if err := a.Ask(t.Context(), "b", "/x", nil, nil); err != nil {
			t.Errorf("restart %d: %v", i, err)
		}
	}
}

// What a reload changes holds for the running member, and a reload that cannot be changes nothing.
func TestRenew(t *testing.T) {
	r := newRig(t)
	a := r.start(r.config("a"))
	k := r.config("b", a)
	b := r.start(k)
	a.knows("b", Alive)
	for _, c := range []struct {
		name   string
		change func()
		want   string
	}{
		{"a key that is none", func() { writeKeys(t, k.KeyFile, "x") }, "it is not base64"},
		{"a certificate of another name", func() { r.config("other"); k.RPC.Cert, k.RPC.Key = r.dir+"/other.pem", r.dir+"/other.key" }, `is not for the name of this member, "b"`},
		{"no roots", func() { k.RPC.CA = r.dir + "/none" }, "cluster.rpc.ca"},
	} {
		was := k
		c.change()
		if _, err := b.Prepare(k); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		k = was
		writeKeys(t, k.KeyFile, text(1))
	}
	writeKeys(t, k.KeyFile, text(2), text(1))
	renew, err := b.Prepare(k)
	if err != nil {
		t.Fatal(err)
	}
	renew()
	if got := b.KeyIDs(); len(got) != 2 || got[0] != KeyID(key(2)) {
		t.Errorf("keys %v", got)
	}
	if !b.Renewable(k) {
		t.Error("the same is not renewable")
	}
	k.Label = "another"
	if b.Renewable(k) {
		t.Error("another label is renewable")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Ask(ctx, "a", "/x", nil, nil); err != nil {
		t.Error(err)
	}
}

// What is wrong with the files is told at the start, with the key of the configuration.
func TestStartSaysWhatIsWrong(t *testing.T) {
	r := newRig(t)
	taken := r.start(r.config("a"))
	for _, c := range []struct {
		name   string
		change func(*member)
		want   string
	}{
		{"gossip", func(m *member) { m.conf.Bind = taken.ours.String() }, "cluster.bind"},
		{"rpc", func(m *member) { m.conf.RPC.Listen = taken.rpcAddr.String() }, "cluster.rpc.listen"},
		{"key file", func(m *member) { m.conf.KeyFile = r.dir + "/none" }, "cluster.key_file"},
		{"certificate", func(m *member) { m.conf.RPC.Cert = r.dir + "/none" }, "cluster.rpc.cert"},
		{"roots of another", func(m *member) { m.conf.RPC.CA, _ = certtest.NewAuthority(t, "foreign").Write(t, r.dir, "foreign") }, "does not lead to a root"},
		{"a certificate for servers only", func(m *member) {
			m.conf.RPC.Cert, m.conf.RPC.Key = r.ca.Issue(t, certtest.Options{Names: []string{"b"}, ClientOnly: true}).Write(t, r.dir, "half")
		}, "as one for servers"},
	} {
		m := &member{Cluster: &Cluster{conf: r.config("b")}}
		c.change(m)
		if _, err := r.try(m.conf); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
