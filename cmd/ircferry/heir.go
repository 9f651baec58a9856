package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/keeper"
	"github.com/ircferry/ircferry/proxy"
)

// A start at which the keeper holds what a daemon has left, that was restarted or killed: its sessions go on.

// left is that.
type left struct {
	keeper.Kept
	was     daemonMemory
	running config.Config // of then
	legacy  *legacy       // of a daemon that was restarted; nil: it was killed
	heir    []int         // the descriptors of its legacy
}

// takeAllTime bounds the taking of some ten thousand descriptors.
const takeAllTime = 10 * time.Second

// find asks the keeper for what a daemon has left; nil: nothing. Without a keeper the daemon starts without, and looks for one.
func (d *daemon) find() (*left, error) {
	k := d.keeping
	if !k.wanted() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), keeperFirst)
	defer cancel()
	c, err := k.dial(ctx)
	if err == nil {
		if err = c.Claim(ctx, nil); err != nil {
			c.Close()
		}
	}
	if err != nil {
		k.missing(err)
		return nil, nil
	}
	k.use(c)
	return d.take(c)
}

// take takes what the keeper holds; nil: there is nothing that could go on.
func (d *daemon) take(c *keeper.Client) (*left, error) {
	used, limit := proxy.Descriptors()
	if n := c.Hello().Descriptors; used+n+spareDescriptors > limit {
		return nil, fmt.Errorf("the keeper holds %d descriptors, this process may have %d: raise LimitNOFILE of the unit (ulimit -n)", n, limit)
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeAllTime)
	defer cancel()
	kept, err := c.Take(ctx)
	if err != nil {
		return nil, err
	}
	if len(kept.Memory) == 0 && len(kept.Descriptors) == 0 {
		return nil, nil
	}
	l := &left{Kept: kept}
	if err := l.read(); err != nil {
		d.log.Error("what the keeper holds is of no use, its connections are closed: the daemon starts without", "descriptors", len(kept.Descriptors), "err", err)
		l.close()
		return nil, c.Clear(ctx)
	}
	return l, nil
}

// read reads the memory of the daemon before, and sorts the descriptors.
func (l *left) read() (err error) {
	l.sort()
	if _, ok := l.Memory[memoryArena]; !ok {
		return errors.New("there is no arena")
	}
	text, err := l.text(memoryDaemon)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &l.was); err != nil {
		return fmt.Errorf("read memory %s: %w", memoryDaemon, err)
	}
	if l.was.Format != daemonMemoryFormat {
		return fmt.Errorf("memory %s is in form %d, this program reads %d", memoryDaemon, l.was.Format, daemonMemoryFormat)
	}
	if l.running, err = config.Parse("the configuration that ran", []byte(l.was.Config)); err != nil {
		return err
	}
	if fd, ok := l.Memory[memoryLegacy]; ok {
		delete(l.Memory, memoryLegacy)
		l.legacy, err = readLegacy(fd)
	}
	return err
}

// sort puts the descriptors of a legacy apart, in their order.
func (l *left) sort() {
	byNumber := map[int]int{}
	for tag, fd := range l.Descriptors {
		if tag>>32 == 0 && tag&heirTag != 0 {
			byNumber[int(tag&^heirTag)] = fd
			delete(l.Descriptors, tag)
		}
	}
	for i := 0; ; i++ {
		fd, ok := byNumber[i]
		if !ok {
			break
		}
		l.heir = append(l.heir, fd)
		delete(byNumber, i)
	}
	for _, fd := range byNumber {
		unix.Close(fd)
	}
}

// close closes all.
func (l *left) close() {
	for _, fd := range l.heir {
		unix.Close(fd)
	}
	l.heir = nil
	l.Kept.Close()
}

// text reads memory to its end, and closes it.
func (l *left) text(name string) ([]byte, error) {
	fd, ok := l.Memory[name]
	if !ok {
		return nil, fmt.Errorf("there is no memory %s", name)
	}
	delete(l.Memory, name)
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		return nil, fmt.Errorf("read memory %s: %w", name, err)
	}
	return text, nil
}

// goOnWith goes on with what a daemon has left. What cannot be gone on with is given up by one step: the legacy of a restart, so that the next start finds the
// sessions in the arena as behind a kill, and then all of it (errNothingLeft). Nothing is given back when it fails: what is closed in order would be closed for the
// next process too.
func (d *daemon) goOnWith(l *left, present reading) error {
	atStep("found")
	ctx := context.Background()
	if l.legacy != nil {
		return d.inherit(ctx, l, present)
	}
	return d.recover(ctx, l, present)
}

// inherit goes on behind a restart, by the configuration that ran; then that of now is taken, as by a reload.
func (d *daemon) inherit(ctx context.Context, l *left, present reading) error {
	hurry := new(collector).hurry()
	x := &succession{opt: d.opt, d: d, running: l.running, present: present,
		begin: &beginMessage{Instance: l.was.Instance, Started: l.was.Started, Loops: l.was.Loops, Config: l.was.Config, Loaded: l.was.Loaded}}
	if err := d.standWhere(l, x); err != nil {
		return err
	}
	// All that can fail is behind us but what is inherited itself. The duplicates by tag are the same sockets.
	s, err := x.takeUp(l.legacy, l.Memory[memoryArena], l.heir)
	heirs := len(l.heir)
	if err != nil {
		return errors.Join(fmt.Errorf("go on behind a restart: %w; the next start goes on as behind a kill", err), d.keeping.forgetLegacy(heirs))
	}
	delete(l.Memory, memoryArena)
	l.heir = nil
	l.Kept.Close()
	if err := d.keeping.forgetLegacy(heirs); err != nil {
		return err
	}
	atStep("inherited")
	s.Start()
	d.links.Start()
	d.moves.Start()
	hurry()
	d.recovered = &admin.Recovery{Time: time.Now(), Cause: admin.RecoveredFromRestart, Sessions: d.proxy.Counts().Sessions, Links: d.links.Passage().Links, Pause: ms(time.Since(l.legacy.Cut))}
	d.log.Info("ircferry goes on behind a restart", "version", admin.BuildVersion().Version, "instance", d.instance, "sessions", d.proxy.Counts().Sessions,
		"pause", time.Since(l.legacy.Cut).Round(time.Millisecond))
	d.publish("restart", fmt.Sprintf("version %s, %d sessions go on", admin.BuildVersion().Version, d.proxy.Counts().Sessions))
	x.serve(ctx)()
	return d.protect()
}

// ms is a duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// standWhere makes what stands beside and below the proxy what it was, and changes nothing of what is kept.
func (d *daemon) standWhere(l *left, x *succession) (err error) {
	if err := d.opt.setLogging(l.running, nil); err != nil {
		return err
	}
	d.instance, d.started = l.was.Instance, l.was.Started
	d.cfg.Store(&loaded{Config: l.running, text: []byte(l.was.Config), sha256: sumOf([]byte(l.was.Config)), at: l.was.Loaded})
	if x.set, err = d.certs.Load(l.running.Listeners); err != nil {
		return err
	}
	if d.lock, err = lockState(l.running.State); err != nil {
		return err
	}
	tune(l.was.Loops)
	if err := d.startBackends(l.running); err != nil {
		return err
	}
	d.doors, err = openDoors(l.running)
	return err
}
