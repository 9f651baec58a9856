package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/certs"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/fdpass"
	"github.com/ircferry/ircferry/proxy"
	"github.com/ircferry/ircferry/proxy/wire"
)

// The new process's side of an upgrade: see handover.go.

const (
	// firstChecks is how long the backends that are up for the old process have to be so for this one: as long as that one waits (prepareTime), but for the rest
	// of what is prepared. It serves meanwhile, so an ircd that is too busy for some checks is no reason to refuse.
	firstChecks = prepareTime - 5*time.Second
	// wordTime bounds the wait for a word of the old process, which may be busy with others'.
	wordTime = time.Minute
	// leftTime bounds the wait for the old process to have told the service manager.
	leftTime = 5 * time.Second
)

// atStep lets a test look between two steps of a hand-over, or end the process there.
var atStep = func(step string) {}

// errRehearsed is the end of a dry run: all that can be tried was.
var errRehearsed = errors.New("dry run: nothing was taken over")

// predecessor is the socket to the process that has started this one as its successor; nil: none has.
func predecessor() (*fdpass.Conn, error) {
	text := os.Getenv(successorEnv)
	if text == "" {
		return nil, nil
	}
	os.Unsetenv(successorEnv)
	number, process, _ := strings.Cut(text, ",")
	fd, err := strconv.Atoi(number)
	pid, perr := strconv.Atoi(process)
	if err != nil || perr != nil || fd < successorFD || pid <= 0 {
		return nil, fmt.Errorf("%s=%s in the environment names no descriptor and process: unset it", successorEnv, text)
	}
	c, err := fdpass.New(os.NewFile(uintptr(fd), "predecessor"))
	if err != nil {
		return nil, fmt.Errorf("%s=%s in the environment: %w; unset it", successorEnv, text, err)
	}
	c.Expect(pid)
	return c, nil
}

// succession is this process on its way into another one's place.
type succession struct {
	opt  daemonOptions
	conn *fdpass.Conn
	d    *daemon

	begin   *beginMessage
	running config.Config // of the old process
	present reading       // of now
	set     *certs.Set    // of the running one
}

// succeedDaemon takes the place of the process at the other end of conn, or tells it why not.
func succeedDaemon(ctx context.Context, opt daemonOptions, conn *fdpass.Conn) (*daemon, error) {
	defer conn.Close()
	x := &succession{opt: opt, conn: conn}
	if err := x.carryOut(ctx); err != nil {
		if !errors.Is(err, errRehearsed) {
			x.conn.Send(message{Word: wordFailed, Error: short(err)}) //nolint:errcheck // the process that would hear it may be gone
		}
		return nil, err
	}
	return x.d, nil
}

// short fits into a message.
func short(err error) string {
	text := err.Error()
	return text[:min(len(text), 4096)]
}

func (x *succession) carryOut(ctx context.Context) error {
	atStep("started")
	hello := ourselves()
	if theirs := layoutOf(x.conn.Expected()); wire.Reads(theirs) {
		hello.Layout = theirs
	}
	if err := x.conn.Send(message{Word: wordHello, Hello: hello}); err != nil {
		return err
	}
	m, _, err := x.await(wordBegin)
	if err != nil {
		return err
	}
	x.begin = m.Begin
	if err := x.prepare(ctx); err != nil {
		return err
	}
	atStep("prepared")
	if err := x.conn.Send(message{Word: wordPrepared}); err != nil {
		return err
	}
	if x.begin.DryRun {
		return errRehearsed
	}
	return x.takeOver(ctx)
}

// layoutOf is the layout of the wire arena that a process has; 0: it cannot be seen. The one before asks whether this one has its own, and some cannot be
// told of more than one.
func layoutOf(pid int) uint64 {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, _ := os.ReadDir(dir) //nolint:errcheck // then it has none
	for _, fd := range fds {
		path := filepath.Join(dir, fd.Name())
		if to, err := os.Readlink(path); err != nil || !strings.HasPrefix(to, "/memfd:ircferry-wire") {
			continue
		}
		if f, err := os.Open(path); err == nil {
			defer f.Close()
			return wire.HashOf(int(f.Fd()))
		}
	}
	return 0
}

// await waits for a word of the old process, with its descriptors.
func (x *succession) await(word string) (m message, fds []int, err error) {
	if err := x.conn.SetDeadline(time.Now().Add(wordTime)); err != nil {
		return m, nil, err
	}
	if fds, err = x.conn.Recv(&m); err != nil {
		return m, nil, fmt.Errorf("the process before this one: %w", err)
	}
	if m.Word != word {
		return m, nil, fmt.Errorf("the process before this one says %q, want %q", m.Word, word)
	}
	return m, fds, nil
}

// takeOver takes all of it. Until it has said taken it changes nothing that the old process has.
func (x *succession) takeOver(ctx context.Context) error {
	hurry := new(collector).hurry()
	m, special, err := x.await(wordLegacy)
	if err != nil {
		return err
	}
	if m.Legacy == nil || len(special) != 3+m.Legacy.Doors || m.Legacy.Doors < 1 {
		return fmt.Errorf("the process before this one has sent %d descriptors ahead", len(special))
	}
	atStep("legacy")
	fds, err := x.conn.RecvAll(m.Legacy.Descriptors)
	if err != nil {
		return err
	}
	atStep("descriptors")
	l, err := readLegacy(special[1])
	if err != nil {
		return err
	}
	s, err := x.takeUp(l, special[0], fds)
	if err != nil {
		return err
	}
	x.d.lock = os.NewFile(uintptr(special[2]), "lock")
	if x.d.doors, err = inheritDoors(x.running, special[3:]); err != nil {
		return err
	}
	atStep("ready")
	if err := x.conn.Send(message{Word: wordReady}); err != nil {
		return err
	}
	if m, _, err = x.await(wordGo); err != nil {
		return err
	}
	atStep("go")
	x.d.keeping.inherit(m.Keeper)
	if err := x.conn.Send(message{Word: wordTaken}); err != nil {
		return err
	}
	s.Start()
	x.d.links.Start()
	x.d.moves.Start()
	atStep("taken")
	hurry()
	x.goOn(ctx)
	if err := x.d.protect(); err != nil {
		x.d.log.Error("the keeper gets nothing of this process", "err", err)
	}
	return nil
}

// takeUp makes sessions and server links what they were, of a legacy with its descriptors, those of links behind those of sessions.
func (x *succession) takeUp(l *legacy, arena int, fds []int) (*proxy.Successor, error) {
	sessions, links := fds, []int(nil)
	if l.Links != nil {
		n := len(fds) - l.Links.Descriptors()
		if n < 0 {
			return nil, fmt.Errorf("server links: %d descriptors for %d", len(fds), l.Links.Descriptors())
		}
		sessions, links = fds[:n], fds[n:]
	}
	s, err := x.resume(l, proxy.Inherited{Carried: l.Proxy, Arena: arena, FDs: sessions})
	if err != nil {
		return nil, err
	}
	return s, x.resumeLinks(l, links)
}

// resume makes the rooms what they were.
func (x *succession) resume(l *legacy, in proxy.Inherited) (*proxy.Successor, error) {
	d := x.d
	d.backends.Adopt(l.Backends)
	if err := d.tickets.Import(l.Tickets); err != nil {
		return nil, err
	}
	clear(l.Tickets)
	secrets, err := ticketSecrets(x.running.Cluster)
	if err != nil {
		return nil, err
	}
	d.others.shareTickets(x.running.Cluster, secrets)
	d.certs.Use(x.set)
	s, err := proxy.Resume(d.proxyOptions(x.begin.Loops), in, listenerTLS(x.running.Listeners, x.set, d.tickets))
	for _, part := range l.Proxy.Loops {
		clear(part)
	}
	if err != nil {
		return nil, err
	}
	d.proxy = s.Proxy()
	if err := d.startMoves(x.running, &l.Past, nil); err != nil {
		return nil, err
	}
	d.events.Resume(l.Events)
	d.upgrades.history = l.Upgrades
	if x.conn != nil {
		d.upgrades.history.Last.PID = os.Getpid()
	}
	here, err := count(d.registry)
	if err != nil {
		return nil, err
	}
	d.counters = l.Counters.less(here)
	return s, nil
}

// resumeLinks makes the server links what they were, unless they end with the process before.
func (x *succession) resumeLinks(l *legacy, fds []int) error {
	if l.Links == nil {
		return nil
	}
	return x.d.links.Resume(*l.Links, fds, x.running.Pools)
}

// goOn does what is still to do when clients are served already.
func (x *succession) goOn(ctx context.Context) {
	defer x.serve(ctx)()
	d := x.d
	x.conn.SetDeadline(time.Now().Add(leftTime)) //nolint:errcheck // then it is waited for until the other end closes
	var m message
	if _, err := x.conn.Recv(&m); err == nil && m.Word == wordLeft {
		d.upgrades.mu.Lock()
		d.upgrades.history.Last.Pause = m.Pause
		d.upgrades.mu.Unlock()
	}
	last := d.upgrades.known().Last
	d.publish("upgrade", fmt.Sprintf("version %s to %s, %d sessions came along", last.From, last.To, last.Sessions))
	d.log.Info("ircferry goes on", "version", admin.BuildVersion().Version, "instance", d.instance, "sessions", last.Sessions, "left", last.Left,
		"pause", time.Duration(last.Pause*float64(time.Millisecond)))
}

// serve lets the operator in and begins to look after what changes. What it answers is done when the process before has left: the ports of server links and of
// the cluster are free then.
func (x *succession) serve(ctx context.Context) (behind func()) {
	d := x.d
	d.backends.Subscribe(d.backendEvent)
	d.serve()
	for _, r := range d.moves.Running() {
		d.api.TrackOn(r.ID)
	}
	d.watch()
	d.metrics.Loaded(true, d.cfg.Load().sha256)
	return func() {
		if err := d.links.Apply(x.running.Pools); err != nil {
			d.log.Error("server links are not listened for behind the upgrade", "err", err)
		}
		if err := d.others.start(x.running); err != nil {
			d.log.Error("this proxy is not in its cluster behind the upgrade; ferryctl reload tries again", "err", err)
		}
		x.reload(ctx)
	}
}

// reload takes the configuration of now, if it is another.
func (x *succession) reload(ctx context.Context) {
	d := x.d
	if x.present.sum == d.cfg.Load().sha256 {
		return
	}
	if _, err := d.Reload(ctx); err != nil {
		d.log.Error("configuration not reloaded behind the upgrade, that of before stays", "err", err)
	}
}
