package proxy_test

import (
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/proxy"
)

// The two rooms do not import each other; that they fit is a matter for the compiler.
var _ handoff.Sessions = (*proxy.Proxy)(nil)
