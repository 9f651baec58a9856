package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/config"
)

// doors are where an operator and his monitoring come in.
type doors struct {
	admin net.Listener
	web   net.Listener // nil: there is none
}

// openDoors opens them as a configuration says.
func openDoors(cfg config.Config) (o doors, err error) {
	if o.admin, err = admin.Listen(cfg.Admin.Socket, cfg.Admin.Group); err != nil || cfg.HTTP.Address == "" {
		return o, err
	}
	o.web, err = net.Listen("tcp", cfg.HTTP.Address)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: another program listens there; give this one another address, or \"\" for none", err)
	}
	if err != nil {
		o.admin.Close()
		return doors{}, fmt.Errorf("http.address: %w", err)
	}
	return o, nil
}

// inheritDoors takes those of a process before over, by their descriptors, which are closed.
func inheritDoors(cfg config.Config, fds []int) (o doors, err error) {
	var listeners []net.Listener
	for _, fd := range fds {
		f := os.NewFile(uintptr(fd), "door")
		l, lerr := net.FileListener(f)
		err = errors.Join(err, lerr, f.Close())
		listeners = append(listeners, l)
	}
	if err != nil {
		return o, fmt.Errorf("take admin socket and HTTP port over: %w", err)
	}
	if len(listeners) > 1 {
		o.web = listeners[1]
	}
	unix, ok := listeners[0].(*net.UnixListener)
	if !ok {
		return o, fmt.Errorf("take admin socket over: it is %s and no unix socket", listeners[0].Addr().Network())
	}
	o.admin, err = admin.Inherit(unix, cfg.Admin.Socket)
	return o, err
}

// descriptors are theirs, for a process that takes them over. They stay the listeners'.
func (o doors) descriptors() (fds []int, err error) {
	for _, l := range []net.Listener{o.admin, o.web} {
		if l == nil {
			continue
		}
		raw, rerr := l.(syscall.Conn).SyscallConn()
		if rerr != nil {
			return nil, fmt.Errorf("descriptor of %s: %w", l.Addr(), rerr)
		}
		err = errors.Join(err, raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }))
	}
	return fds, err
}

// close closes them, where nobody serves.
func (o doors) close() {
	for _, l := range []net.Listener{o.admin, o.web} {
		if l != nil {
			l.Close()
		}
	}
}

// serve answers at the doors until they are closed.
func (d *daemon) serve() {
	parts := pictures{d}
	d.api = admin.New(admin.Options{Process: parts, Pools: parts, Sessions: parts, Moves: parts, Finder: parts, Certs: parts, Closings: d.closings, Upgrader: d.upgrades,
		Others: d.others, Keys: d.others, Enter: d.upgrades.enter, Events: d.events, Metrics: d.metrics, Log: slog.New(everyLevel{d.log.Handler()})})
	d.serving.Go(func() {
		if err := d.api.Serve(d.doors.admin); err != nil {
			d.log.Error("admin API ended", "err", err)
		}
	})
	if d.doors.web == nil {
		return
	}
	d.public = admin.Public{Status: d.api.Status, Gatherer: d.gatherer(), Alive: d.proxy.Watchdog, Log: d.log}.Server()
	_, limit := d.proxy.Descriptors()
	web := admin.LimitListener(d.doors.web, max(8, config.ReservedDescriptors(limit)/4))
	d.serving.Go(func() {
		if err := d.public.Serve(web); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			d.log.Error("HTTP port ended", "err", err)
		}
	})
}
