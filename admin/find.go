package admin

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// NativeFinder asks every native backend that is up who has a nick (FIND of HANDOFF/1), each over a control connection of its own.
type NativeFinder struct {
	Set      *backend.Set
	Instance string // this daemon's instance id
}

// Find asks all at the same time, until ctx is over.
func (f NativeFinder) Find(ctx context.Context, nick string) ([]Found, error) {
	var (
		work  sync.WaitGroup
		mu    sync.Mutex
		found []Found
		errs  []error
	)
	for _, b := range f.natives() {
		work.Go(func() {
			u, err := f.ask(ctx, b, nick)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				found = append(found, Found{Backend: b.FullName(), U: u, Nick: nick})
			case !errors.Is(err, protocol.ErrNotFound):
				errs = append(errs, fmt.Errorf("ask %s: %w", b.FullName(), err))
			}
		})
	}
	work.Wait()
	return found, errors.Join(errs...)
}

func (f NativeFinder) natives() []*backend.Backend {
	var list []*backend.Backend
	for _, p := range f.Set.Pools() {
		for _, b := range p.Backends() {
			if b.Native() && b.Oper() == backend.Up {
				list = append(list, b)
			}
		}
	}
	return list
}

func (f NativeFinder) ask(ctx context.Context, b *backend.Backend, nick string) (u string, err error) {
	control, err := protocol.Dial(ctx, b.Config().Handoff)
	if err != nil {
		return "", err
	}
	defer control.Close()
	if _, err := control.Hello(ctx, protocol.Hello{Name: f.Instance}); err != nil {
		return "", err
	}
	return control.Find(ctx, nick)
}
