package backend

import (
	"strconv"
	"strings"

	"github.com/ircferry/ircferry/internal/config"
)

// gateway is the second parameter of WEBIRC where it is the name of the gateway.
const gateway = "ircferry"

// webirc is "WEBIRC password gateway hostname ip [:options]". We do not look up names, so the hostname is the address.
func webirc(pl plan, name string, c Client) []byte {
	ip := c.Addr.Addr().Unmap().WithZone("").String()
	if strings.HasPrefix(ip, ":") {
		ip = "0" + ip // a parameter that begins with a colon would swallow the rest of the line
	}
	line := "WEBIRC " + pl.password + " " + name + " " + ip + " " + ip
	if len(pl.conf.WebIRCFlags) > 0 {
		line += " :" + webircOptions(pl.conf.WebIRCFlags, c)
	}
	return []byte(line + "\r\n")
}

// webircOptions is the fifth parameter (https://ircv3.net/specs/extensions/webirc; certfp-sha-256 is InspIRCd's). It is never empty:
// InspIRCd reads from its being there that a client without "secure" has no TLS, and does not see an empty one. All flags and the
// longest password leave the line within 512 bytes.
func webircOptions(flags []config.WebIRCFlag, c Client) string {
	var words []string
	remote := "remote-port=" + strconv.Itoa(int(c.Addr.Port()))
	for _, f := range flags {
		switch {
		case f == config.WebIRCPorts:
			words = append(words, "local-port="+strconv.Itoa(int(c.Local.Port())), remote)
		case c.TLS == nil:
		case f == config.WebIRCSecure:
			words = append(words, "secure")
		case f == config.WebIRCCertFP && c.TLS.CertFP != "":
			words = append(words, "certfp-sha-256="+c.TLS.CertFP)
		}
	}
	if len(words) == 0 {
		return remote
	}
	return strings.Join(words, " ")
}

// maxUserName is longer than any ircd takes, which cut for themselves.
const maxUserName = 64

// userName makes sure that what a client said is one word.
func userName(s string) string {
	if i := strings.IndexAny(s, " \r\n\x00"); i >= 0 {
		s = s[:i]
	}
	if s == "" {
		return "unknown"
	}
	return s[:min(len(s), maxUserName)]
}
