package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An upgrade waits for commands that are under way, lets none begin meanwhile, and is refused when one does not end in time; then commands may begin again.
func TestUpgradeWaitsForCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpgrades(nil)
		defer u.cancel()
		enter := func() func() {
			t.Helper()
			leave, err := u.enter("drain")
			if err != nil {
				t.Fatal(err)
			}
			return leave
		}
		first, second := enter(), enter()
		began := make(chan error)
		go func() { began <- u.begin() }()
		synctest.Wait()
		if _, err := u.enter("drain"); err != errUpgrading {
			t.Errorf("a command beside an upgrade: %v", err)
		}
		first()
		synctest.Wait()
		select {
		case err := <-began:
			t.Fatalf("it did not wait for the second command: %v", err)
		default:
		}
		second()
		if err := <-began; err != nil {
			t.Errorf("behind the last command: %v", err)
		}
		u.end()

		third, start := enter(), time.Now()
		if err := u.begin(); err == nil || !strings.Contains(err.Error(), "a command is under way") || time.Since(start) != enterTime {
			t.Errorf("a command that does not end: %v after %v", err, time.Since(start))
		}
		third()
		enter()()
		if u.running() {
			t.Error("an upgrade that was refused is under way")
		}
	})
}
