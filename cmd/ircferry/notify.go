package main

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notifier tells systemd how the daemon is (sd_notify(3)). Without NOTIFY_SOCKET it says nothing.
type notifier struct {
	d   *daemon
	log *slog.Logger
}

func newNotifier(d *daemon, log *slog.Logger) *notifier { return &notifier{d: d, log: log} }

func (n *notifier) say(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		n.log.Warn("systemd not told", "err", err)
	}
}

func (n *notifier) ready() { n.say(systemd.SdNotifyReady + "\nSTATUS=" + n.d.summary()) }

// named tells of another main process. It must come from this one: NotifyAccess=main.
func (n *notifier) named(pid int) { n.say(fmt.Sprintf("MAINPID=%d", pid)) }

func (n *notifier) stopping() { n.say(systemd.SdNotifyStopping) }

// reloading carries the monotonic time, without which systemd from 253 on does not take it for the beginning of a reload.
func (n *notifier) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		n.log.Warn("monotonic clock not read", "err", err)
	}
	n.say(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", systemd.SdNotifyReloading, now.Nano()/1000))
}

// statusEvery is how often STATUS= is refreshed where there is no watchdog.
const statusEvery = 10 * time.Second

// watch keeps the watchdog fed as long as every event loop turns, twice as often as systemd asks, and the status fresh. The returned
// function ends it.
func (n *notifier) watch() func() {
	every := statusEvery
	limit, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("watchdog setting not understood", "err", err)
	}
	if limit > 0 {
		every = limit / 2
	}
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() { n.feed(every, limit > 0, stop) })
	return func() { close(stop); done.Wait() }
}

func (n *notifier) feed(every time.Duration, watchdog bool, stop <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if err := n.d.proxy.Watchdog(); err != nil {
			n.log.Error("watchdog not fed", "err", err)
			continue
		}
		state := "STATUS=" + n.d.summary()
		if watchdog {
			state = systemd.SdNotifyWatchdog + "\n" + state
		}
		n.say(state)
	}
}
