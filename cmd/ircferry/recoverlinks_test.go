package main

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// Server links outlive kills, restarts and upgrades, in plaintext and over TLS, while both ends and clients talk.
func TestKilledWithServerLinks(t *testing.T) {
	f, _ := keptFerry(t)
	r := withLinks(t, f)
	services, leaf := r.link("services.example", "00S", r.services), r.link("leaf.example", "00L", r.leaf)
	c := r.crowd(12, 2, 20*time.Millisecond)
	stops := []func(){services.talk("00S"), leaf.talk("00L")}
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGUSR1, syscall.SIGKILL, 0, syscall.SIGKILL} {
		if how == 0 {
			r.must()
			await(t, "the keeper is up behind an upgrade", func() bool { return r.status().Keeper.Up })
			how = syscall.SIGKILL
		}
		r.allKept()
		r.kill(how)
		if got := r.status().Recovered; got == nil || got.Links != 2 || len(got.LostLinks) > 0 {
			t.Fatalf("behind %v: %+v\n%s", how, got, r.log)
		}
	}
	// A restart whose next process dies in the take-over is gone on with as a kill.
	for _, step := range []string{"found", "inherited"} {
		r.allKept()
		r.cmd.Process.Signal(syscall.SIGUSR1)
		r.awaitEnd()
		r.stumbleAt(step, "killed")
		r.begin()
		r.awaitEnd()
		os.Remove(r.stumbleFile())
		r.run()
		if got := r.status().Recovered; got == nil || got.Links != 2 || len(got.LostLinks) > 0 {
			t.Fatalf("behind a take-over that was killed when it was %s: %+v\n%s", step, got, r.log)
		}
	}
	for _, stop := range stops {
		stop()
	}
	r.unharmed(c)
	services.peer.Close() // and one that ends while nobody is there ends
	r.allKept()
	leaf.passes(leaf.peer, leaf.fromPeer, ":00L PING 00A")
	r.kill(syscall.SIGKILL)
	if got := r.status().Recovered; got.Cause != admin.RecoveredFromKill {
		t.Errorf("%+v", got)
	}
	leaf.passes(leaf.ircd, leaf.fromIrcd, ":00A PING 00L")
}

// allKept waits until what is up is with the keeper: each link has three descriptors there.
func (r *linkRig) allKept() {
	r.t.Helper()
	await(r.t, "all is kept", func() bool {
		st := r.status()
		up := 0
		for _, l := range st.Pools[0].Links {
			if l.State != "down" {
				if !l.Protected {
					return false
				}
				up++
			}
		}
		return st.Keeper.Up && st.Keeper.Descriptors >= 2*st.Sessions.Total+3*up
	})
}
