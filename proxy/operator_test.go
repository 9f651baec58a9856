package proxy

import (
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// Admit lets in as many as it is told, of this pool alone, and the gate stays shut for the others.
func TestAdmitLetsSomeIn(t *testing.T) {
	r, d := relay(t, config.Listener{})
	r.Gate("main")
	for range 5 {
		r.dial().send("NICK ann\r\n")
	}
	r.eventually("waiting clients", func() bool { return r.Counts().Waiting == 5 })
	admit := func(pool string, n, want int) {
		t.Helper()
		if left, err := r.Admit(ctxOf(t), pool, n); left != want || err != nil {
			t.Errorf("%d of %s were let in: %d are left (%v), want %d", n, pool, left, err, want)
		}
	}
	admit("other", 5, 0)
	admit("main", 0, 5)
	for _, left := range []int{3, 1} {
		admit("main", 2, left)
		for range 2 {
			d.next().expect("NICK ann\r\n")
		}
		if n := r.Counts().Waiting; n != left {
			t.Errorf("%d wait, want %d", n, left)
		}
	}
	late := r.dial()
	late.send("NICK late\r\n")
	r.eventually("two waiting clients", func() bool { return r.Counts().Waiting == 2 })
	r.Ungate("main")
	for range 2 {
		d.next().expectLine("NICK ")
	}
	admit("main", 5, 0)
}

// A notice reaches the registered clients of a backend who are between two lines, and nobody else.
func TestNotice(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	ann, ben, cid := r.user(a, "ann"), r.user(a, "ben"), r.user(a, "cid")
	cid.toClient(":irc NOTICE cid :half")
	late := r.dial()
	a.opened()
	told := r.Notice(ctxOf(t), "main/a", "come back soon", map[string]bool{ben.u: true})
	if len(told) != 1 || told[0] != ann.u {
		t.Errorf("told %v, want %s", told, ann.u)
	}
	const notice = ":ircferry NOTICE * :come back soon\r\n"
	ann.client.expect(notice)
	for _, c := range []*conn{ben.client, cid.client, late} {
		c.expectNothingNow()
	}
	cid.toClient(" a line\r\n")
	if told := r.Notice(ctxOf(t), "main/a", "come back soon", map[string]bool{ann.u: true, ben.u: true}); len(told) != 1 || told[0] != cid.u {
		t.Errorf("then told %v, want %s", told, cid.u)
	}
	cid.client.expect(notice)
	if told := r.Notice(ctxOf(t), "main/b", "x", nil); len(told) != 0 {
		t.Errorf("of another backend: %v", told)
	}
	ann.toServer("PING x\r\n")
}
