package backend

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// The versions of 004 are those of the ircds that were run (InspIRCd 3 and 4, ngIRCd 26, ircd-hybrid 8.2, Solanum, UnrealIRCd 6, Ergo 2).
func TestKindOf(t *testing.T) {
	for version, want := range map[string]kind{
		"InspIRCd-3": inspIRCd3, "InspIRCd-4": inspIRCd4, "ngircd-26.1": ngIRCd, "ircd-hybrid-1:8.2.43+dfsg.1-1": hybrid, "solanum-1.0-dev": solanum,
		"UnrealIRCd-6.1.8.1": unreal, "ergo-2.20.0-unreleased": ergo, "ircu-2.10": "", "": "",
	} {
		if got := kindOf(version); got != want {
			t.Errorf("%s is %q, want %q", version, got, want)
		}
	}
	if got := kindOfRefusal(errors.New("ERROR :Closing Link: * (Not a WebIRC auth block)")); got != hybrid {
		t.Errorf("refusal of %q", got)
	}
	if got := kindOfRefusal(nil); got != "" {
		t.Errorf("no refusal is of %q", got)
	}
}

// Every trouble has lines for every ircd, and nothing in them is left to fill in but the password, which is never said.
func TestEveryTroubleHasLines(t *testing.T) {
	at := site{ours: netip.MustParseAddr("198.51.100.4"), port: "6670", password: "/etc/ircferry/webirc"}
	for _, k := range kinds {
		for _, id := range []config.Identity{config.IdentityWebIRC, config.IdentityProxyV1, config.IdentityProxyV2} {
			for tr := identity; tr <= channels; tr++ {
				got := remedy(k.kind, tr, id, at)
				if !strings.HasPrefix(got, "; in the configuration of "+string(k.kind)+":\n    ") || strings.HasSuffix(got, "\n") || strings.Count(got, "configuration of "+string(k.kind)) != 1 {
					t.Errorf("%s, trouble %d, %s: %q", k.kind, tr, id, got)
				}
				if strings.Contains(got, "@OURS") || strings.Contains(got, "@PORT") || strings.Contains(got, "@PASSWORD") {
					t.Errorf("%s, trouble %d, %s has places to fill in: %q", k.kind, tr, id, got)
				}
			}
		}
	}
	all := remedy("", many, config.IdentityWebIRC, at)
	for _, k := range kinds {
		if !strings.Contains(all, "configuration of "+string(k.kind)+":\n") {
			t.Errorf("without a version there is nothing of %s:\n%s", k.kind, all)
		}
	}
	if !strings.Contains(all, `exempt { ip = "198.51.100.4"; };`) {
		t.Errorf("our address is not in\n%s", all)
	}
}
