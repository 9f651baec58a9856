//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// upgraded is what the tests read of an upgrade.
type upgraded struct {
	PID      int            `json:"pid"`
	Sessions int            `json:"sessions"`
	Links    int            `json:"links"`
	Left     map[string]int `json:"left"`
	PauseMS  float64        `json:"pause_ms"`
}

// upgrade puts a new process in the daemon's place, and nobody may stay behind.
func (f *ferry) upgrade() upgraded {
	f.t.Helper()
	out, code := f.ctl("-o", "json", "upgrade")
	var u upgraded
	if err := json.Unmarshal([]byte(out), &u); err != nil || code != 0 || len(u.Left) > 0 || u.PID == 0 {
		f.t.Fatalf("upgrade: exit %d, %v in %q", code, err, out)
	}
	return u
}

// upgradeMany upgrades under a conversation and answers the pauses, in milliseconds.
func (f *ferry) upgradeMany(n int, between func()) (pauses []float64) {
	f.t.Helper()
	for i := range n {
		u := f.upgrade()
		f.t.Logf("upgrade %d: %d sessions, pause %.0f ms", i+1, u.Sessions, u.PauseMS)
		pauses = append(pauses, u.PauseMS)
		between()
	}
	return pauses
}

// TestUpgradesOnInspIRCd: 100 clients of InspIRCd talk, half of them over TLS, through upgrades of the proxy, and none of them sees anything of it; behind them
// their ircd can be restarted as ever.
func TestUpgradesOnInspIRCd(t *testing.T) { oneByOne(t, upgradesOnInspIRCd) }

func upgradesOnInspIRCd(t *testing.T, v *inspVersion) {
	a, secure := v.start(t, "a"), newSecured(t)
	f := startFerry(t, nil, secure.text, a.backend())
	w := startMixed(t, f.port, secure, 100, 5)
	late := lateness(t)
	pauses := f.upgradeMany(8, func() { w.talkOn(3000) })
	shortPause(t, pauses, late)
	if r := a.restart(f); r.Moved != 100 {
		t.Errorf("restart behind the upgrades: %+v", r)
	}
	w.talkOn(3000)
	f.upgrade()
	w.talkOn(3000)
	w.closing("ircd=inspircd-" + v.release + " upgrades=9")
}

// TestManyUpgrades: the same with many clients of two embedded ircds, with drains between the upgrades.
func TestManyUpgrades(t *testing.T) {
	clients := 600
	if testing.Short() {
		clients = 200
	}
	a, b, secure := startEmbedded(t, "a"), startEmbedded(t, "b"), newSecured(t)
	f := startFerry(t, nil, secure.text, a.backend(), b.backend())
	w := startMixed(t, f.port, secure, clients, clients/20)
	late := lateness(t)
	n := 0
	pauses := f.upgradeMany(20, func() {
		w.talkOn(2 * clients)
		if n++; n%5 == 0 {
			f.replace(n/5 - 1)
		}
	})
	shortPause(t, pauses, late)
	w.closing(fmt.Sprintf("upgrades=20 sessions=%d", clients))
}

// TestRealClientsStayThroughUpgrades: weechat and irssi, over TLS and in plaintext, stay through three upgrades, and a drain works for them behind those.
func TestRealClientsStayThroughUpgrades(t *testing.T) {
	t.Parallel() // most of it is waiting
	a, b := startEmbedded(t, "a"), startEmbedded(t, "b")
	secure := newSecured(t)
	f := startFerry(t, nil, secure.text, a.backend(), b.backend())
	c := observe(t, f)
	c.gather(append(secure.clients(t), weechat(t, f.port), irssi(t, f.port))...)
	c.begin()
	f.hasSecure(2)
	begin, n := time.Now(), 0
	f.upgradeMany(3, func() {
		n++
		eventually(t, time.Minute, "the next upgrade is due", func() bool { return time.Since(begin) > time.Duration(n)*3*time.Second })
	})
	f.hasSecure(2)
	f.replace(0)
	c.nobodyNoticed()
}
