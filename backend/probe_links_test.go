package backend

import (
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// A check tells, long before a move is refused for it, which servers would see it.
func TestProbeTellsWhichServersWouldSeeAMove(t *testing.T) {
	able := []string{protocol.FeatLinks}
	with := func(names ...string) (p config.Pool) {
		for _, n := range names {
			p.Links = append(p.Links, config.Link{Name: n})
		}
		return p
	}
	takes := config.Backend{Servers: &config.Servers{Address: "127.0.0.1:7000"}}
	for _, c := range []struct {
		name  string
		pool  config.Pool
		hello Hello
		want  []string // one for each finding
	}{
		{"nothing is linked", with(), Hello{Feat: able}, nil},
		{"all are held", with("Services.example", "leaf.example"), Hello{Feat: able, Links: 2, Linked: []string{"services.example", "leaf.example"}, ULined: []string{"services.example"}}, nil},
		{"none is held", with(), Hello{Feat: able, Links: 2, Linked: []string{"services.example", "leaf.example"}, ULined: []string{"services.example"}},
			[]string{"linked to leaf.example past us: users there would see", "services (services.example) are linked to it past us"}},
		{"one is forgotten", with("services.example"), Hello{Feat: able, Links: 2, Linked: []string{"services.example", "leaf.example"}, ULined: []string{"services.example"}},
			[]string{"leaf.example past us"}},
		{"a module of before", with(), Hello{Links: 2}, []string{"linked to 2 servers, and they would see every move"}},
		{"a module of before, with links", with("leaf.example"), Hello{Software: "InspIRCd", Version: "3.15"}, []string{"InspIRCd 3.15 cannot have its server links held"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var found []config.Finding
			prober{key: "k", found: &found}.links(c.pool, takes, c.hello)
			if len(found) != len(c.want) {
				t.Fatalf("%v", found)
			}
			for i, want := range c.want {
				if found[i].Severity != config.SeverityWarning || !strings.Contains(found[i].Text, want) {
					t.Errorf("got  %s\nwant %s", found[i].Text, want)
				}
			}
		})
	}
}
