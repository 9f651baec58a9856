package backend

import (
	"net/netip"
	"strings"

	"github.com/ircferry/ircferry/internal/config"
)

// kind is a kind of ircd, as far as its configuration goes.
type kind string

const (
	inspIRCd3 kind = "InspIRCd 3"
	inspIRCd4 kind = "InspIRCd 4"
	ngIRCd    kind = "ngIRCd"
	hybrid    kind = "ircd-hybrid"
	solanum   kind = "Solanum"
	unreal    kind = "UnrealIRCd"
	ergo      kind = "Ergo"
)

// kinds are the kinds with the begin of the version that they tell in 004.
var kinds = []struct {
	version string
	kind    kind
}{
	{"InspIRCd-4", inspIRCd4}, {"InspIRCd-", inspIRCd3}, {"ngircd-", ngIRCd}, {"ircd-hybrid-", hybrid}, {"solanum-", solanum}, {"UnrealIRCd-", unreal}, {"ergo-", ergo},
}

// kindOf is the kind of ircd by its version in 004; "": none of those that are known.
func kindOf(version string) kind {
	for _, k := range kinds {
		if strings.HasPrefix(version, k.version) {
			return k.kind
		}
	}
	return ""
}

// refusals are words by which an ircd that has told no version is known.
var refusals = []struct {
	words string
	kind  kind
}{
	{"(re)connect too fast -- throttled", hybrid}, {"Not a WebIRC auth block", hybrid}, {"WEBIRC: you don't match", inspIRCd3}, {"Throttled: Reconnecting too fast", unreal},
	{"too many connections from your IP", ngIRCd},
}

func kindOfRefusal(err error) kind {
	for _, r := range refusals {
		if err != nil && strings.Contains(err.Error(), r.words) {
			return r.kind
		}
	}
	return ""
}

// trouble is what an ircd's configuration does to users who come back.
type trouble int

const (
	identity trouble = iota // it does not believe who a client is
	many                    // it refuses many clients from our address, at once or soon one after the other
	lag                     // it delays, or throws out, who says much at once
	lookups                 // it looks up names or idents
	channels                // it lets a client on few channels only
)

// site is what the lines for a configuration have to name.
type site struct {
	ours     netip.Addr // we, as the ircd sees us
	port     string     // of its client port for us
	password string     // the file with the WEBIRC password
}

// remedy is the lines that lift a trouble, each on a line of its own, behind a colon. For an ircd that has not told what it is, those for each.
func remedy(k kind, t trouble, id config.Identity, at site) string {
	var out strings.Builder
	for _, r := range kinds {
		lines := remedies(r.kind, t, id)
		if k != "" && k != r.kind || len(lines) == 0 {
			continue
		}
		out.WriteString("; in the configuration of " + string(r.kind) + ":")
		for _, l := range lines {
			out.WriteString("\n    " + strings.NewReplacer("@OURS", at.ours.String(), "@PORT", at.port, "@PASSWORD", "the word in "+at.password).Replace(l))
		}
		out.WriteString("\n  ")
	}
	return strings.TrimRight(strings.ReplaceAll(out.String(), "\n  ;", "\n  "), "\n ")
}

// remedies are the lines with places to fill in. They were tried on InspIRCd 3.15, ngIRCd 26.1 and ircd-hybrid 8.2.43 by the tests of e2e; those of the
// others with the configurations of which their ircds took 1,500 users.
func remedies(k kind, t trouble, id config.Identity) []string {
	if t == identity {
		return believed(k, id)
	}
	switch k {
	case inspIRCd3, inspIRCd4:
		return inspIRCdRemedies(t)
	case ngIRCd:
		return map[trouble][]string{
			many:     {"[Limits]", "\tMaxConnections = 0", "\tMaxConnectionsIP = 0"},
			lag:      {"[Limits]", "\tMaxPenaltyTime = 0"},
			lookups:  {"[Options]", "\tDNS = no", "\tIdent = no", "\tPAM = no"},
			channels: {"[Limits]", "\tMaxJoins = 0"},
		}[t]
	case hybrid:
		return map[trouble][]string{
			many: {`exempt { ip = "@OURS"; };`, `general { throttle_count = 10000; };`, `class { /* of the users */ max_number = 10000; };`,
				`auth { /* of the users */ flags = exceed_limit, can_flood, no_tilde; };`},
			lag:      {`auth { /* of the users */ flags = exceed_limit, can_flood, no_tilde; };`, `general { pace_wait = 0 seconds; pace_wait_simple = 0 seconds; };`},
			lookups:  {`general { disable_auth = yes; };`},
			channels: {`class { /* of the users */ max_channels = 100; };`},
		}[t]
	case solanum:
		return map[trouble][]string{
			many: {`exempt { ip = "@OURS"; };`, `general { throttle_count = 10000; reject_ban_time = 0 seconds; };`, `class "users" { max_number = 10000; };`,
				`auth { /* of the users */ flags = exceed_limit, flood_exempt, kline_exempt; };`},
			lag:      {`auth { /* of the users */ flags = exceed_limit, flood_exempt, kline_exempt; };`, `channel { channel_target_change = no; };`},
			lookups:  {`general { disable_auth = yes; };`},
			channels: {`channel { max_chans_per_user = 100; };`},
		}[t]
	case unreal:
		return map[trouble][]string{
			many:     {`except ban { mask @OURS; type { connect-flood; handshake-data-flood; blacklist; } }`, `allow { mask *; class clients; maxperip 16; global-maxperip 16; }`},
			lag:      {`set { anti-flood {`, `    known-users { lag-penalty 0; lag-penalty-bytes 10000; join-flood 255:60; nick-flood 255:60; away-flood 255:60; }`, `    unknown-users { lag-penalty 0; lag-penalty-bytes 10000; join-flood 255:60; nick-flood 255:60; away-flood 255:60; }`, `} }`},
			lookups:  {`set { options { dont-resolve; } }`},
			channels: {`set { maxchannelsperuser 100; }`},
		}[t]
	case ergo:
		return map[trouble][]string{
			many:     {`server:`, `    ip-limits:`, `        exempted:`, `            - "@OURS"`},
			lag:      {`fakelag:`, `    enabled: false`},
			lookups:  {`server:`, `    lookup-hostnames: false`, `    check-ident: false`},
			channels: {`channels:`, `    max-channels-per-client: 100`},
		}[t]
	}
	return nil
}

func inspIRCdRemedies(t trouble) []string {
	switch t {
	case many:
		return []string{`<connect name="ircferry" allow="@OURS" port="@PORT" timeout="30" limit="100000" localmax="100000" globalmax="100000" maxconnwarn="no" threshold="1000"`,
			`  commandrate="100000" fakelag="no" useconnectban="no" useconnflood="no" usednsbl="no" resolvehostnames="no" useident="no">`,
			`and in the <connect> of the users: limit="100000" useconnectban="no" useconnflood="no"`}
	case lag:
		return []string{`in the <connect> of the users: fakelag="no" threshold="1000" commandrate="100000"`}
	case lookups:
		return []string{`in both <connect>, ircferry's and the users': resolvehostnames="no" useident="no" usednsbl="no"`}
	case channels:
		return []string{`in the <connect> of the users: maxchans="100"`}
	}
	return nil
}

// believed are the lines by which an ircd takes the client's address from us.
func believed(k kind, id config.Identity) []string {
	proxy := id == config.IdentityProxyV1 || id == config.IdentityProxyV2
	switch k {
	case inspIRCd3, inspIRCd4:
		switch {
		case id == config.IdentityProxyV1:
			return []string{"it takes version 2 only: identity: proxy-v2 in the configuration of ircferry, and", `<module name="haproxy">`,
				`<bind address="..." port="@PORT" type="clients" hook="haproxy">`}
		case proxy:
			return []string{`<module name="haproxy">`, `<bind address="..." port="@PORT" type="clients" hook="haproxy">`}
		case k == inspIRCd4:
			return []string{`<module name="gateway">`, `<gateway type="webirc" password="@PASSWORD" mask="@OURS">`}
		}
		return []string{`<module name="cgiirc">`, `<cgihost type="webirc" password="@PASSWORD" mask="@OURS">`}
	case ergo:
		if proxy {
			return []string{`server:`, `    listeners:`, `        "...:@PORT":`, `            proxy: true`, `    proxy-allowed-from:`, `        - "@OURS"`}
		}
		return []string{`server:`, `    webirc:`, `        - password: "what ergo genpasswd prints for @PASSWORD"`, `          accept-hostname: false`, `          hosts:`, `              - "@OURS"`}
	}
	lines := map[kind][]string{
		ngIRCd: {"[Options]", "\tWebircPassword = @PASSWORD"},
		hybrid: {`auth { user = "*@@OURS"; password = "@PASSWORD"; encrypted = no; class = "users"; flags = webirc; };`},
		solanum: {`loadmodule "extensions/m_webirc";`,
			`auth { user = "webirc@@OURS"; password = "@PASSWORD"; spoof = "webirc."; class = "users"; };`},
		unreal: {`proxy ircferry { type webirc; mask @OURS; password "@PASSWORD"; }`},
	}[k]
	if proxy && lines != nil {
		lines = append([]string{"it knows no PROXY protocol: identity: webirc in the configuration of ircferry, and"}, lines...)
	}
	if proxy && k == ngIRCd {
		lines[0] = "it knows no PROXY protocol: identity: webirc, webirc_after: user in the configuration of ircferry, and"
	}
	return lines
}
