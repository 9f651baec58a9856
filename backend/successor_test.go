package backend

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/ircferry/ircferry/internal/config"
)

// A successor has the admin states and serving backends of now, whatever is on disk, and who has left writes nothing any more.
func TestAdoptAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld().all("a b c")
		pools := one(relays(config.Standalone, "a", "b", "c"))
		old := w.newSet(t, dir, pools)
		settle()
		next := w.newSet(t, dir, pools)
		settle()
		w.events()
		if err := get(t, old, "a").SetAdmin(Maint); err != nil {
			t.Fatal(err)
		}
		if err := get(t, old, "b").SetAdmin(Drain); err != nil {
			t.Fatal(err)
		}
		if err := mainPool(t, old).SetServing("c"); err != nil {
			t.Fatal(err)
		}
		next.Adopt(old.Remembered())
		settle()
		if a, b := get(t, next, "a").Admin(), get(t, next, "b").Admin(); a != Maint || b != Drain || mainPool(t, next).Serving() != "c" {
			t.Errorf("adopted %s, %s, serving %s", a, b, mainPool(t, next).Serving())
		}
		if oper := get(t, next, "a").Oper(); oper != Down {
			t.Errorf("a backend in maint is %s", oper)
		}
		before, err := os.ReadFile(filepath.Join(dir, memoryFile))
		if err != nil {
			t.Fatal(err)
		}
		old.Leave()
		if err := get(t, old, "c").SetAdmin(Maint); err != nil {
			t.Fatal(err)
		}
		old.Close()
		if after, err := os.ReadFile(filepath.Join(dir, memoryFile)); err != nil || string(after) != string(before) {
			t.Errorf("%s was written (%v)", after, err)
		}
		next.Adopt(next.Remembered())
		if a := get(t, next, "a").Admin(); a != Maint {
			t.Errorf("adopted its own: %s", a)
		}
	})
}
