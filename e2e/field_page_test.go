//go:build e2e

package e2e

import (
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Issue 10: the status page in a real browser, with a warning and a move. Its picture is kept in the directory that IRCFERRY_ARTEFACTS names.
func TestFieldStatusPageInABrowser(t *testing.T) {
	chromium := need(t, "chromium", "chromium")
	a := startEmbedded(t, "a")
	f := newFerry(t, "", a.backend(), `{name: b, handoff: "unix:/nowhere/b.sock"}`)
	web := freePort(t)
	f.writeConfig(strings.Replace(readFile(f.configFile()), `http: {address: ""}`, fmt.Sprintf(`http: {address: "127.0.0.1:%d"}`, web), 1))
	f.run(nil)
	login(t, f.port, "127.0.0.1", "secretnick").fence()
	if out, code := f.ctl("hold", "main/a"); code != 0 {
		t.Fatalf("hold: exit %d\n%s", code, out)
	}
	profile, url := shortDir(t), fmt.Sprintf("http://127.0.0.1:%d/", web)
	picture := filepath.Join(profile, "status.png")
	if dir := os.Getenv("IRCFERRY_ARTEFACTS"); dir != "" {
		picture = filepath.Join(dir, "status.png")
	}
	browser := func(args ...string) string {
		t.Helper()
		args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
			"--user-data-dir=" + profile, "--window-size=1200,1000"}, append(args, url)...)
		cmd := exec.CommandContext(t.Context(), chromium, args...)
		cmd.Env = append(os.Environ(), "HOME="+profile)
		cmd.WaitDelay = time.Second
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("chromium: %v %s", err, out)
		}
		return string(out)
	}
	page := browser("--dump-dom")
	for _, want := range []string{"Under way: hold of main/a", "the users are held until an ircd takes them", "the users of main/a are parked by move", "main/b is down: ", "2 things need an eye", "Clients: 1, of them 1 held"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	for _, never := range []string{"secretnick", "uid=", "<script"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %q", never)
		}
	}
	browser("--screenshot=" + picture)
	file, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	shot, err := png.Decode(file)
	if err != nil {
		t.Fatalf("the picture: %v", err)
	}
	colours := map[[3]uint32]bool{}
	for y := 0; y < shot.Bounds().Dy(); y += 3 {
		for x := 0; x < shot.Bounds().Dx(); x += 3 {
			r, g, b, _ := shot.At(x, y).RGBA()
			colours[[3]uint32{r >> 12, g >> 12, b >> 12}] = true
		}
	}
	if len(colours) < 4 { // text, its back, a warning's colour, a line
		t.Errorf("the picture has %d colours only", len(colours))
	}
}
