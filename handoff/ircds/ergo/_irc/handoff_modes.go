// SPDX-License-Identifier: MIT

package irc

import (
	"strings"

	"github.com/ergochat/ergo/irc/modes"
)

// The canonical names of HANDOFF/1 for Ergo's modes. Modes without one have a name of Ergo's own, said under x.ergo.mode.
var (
	handoffChannelFlags = map[modes.Mode]string{
		modes.Auditorium: "auditorium", modes.InviteOnly: "inviteonly", modes.Moderated: "moderated", modes.NoOutside: "noextmsg",
		modes.OpOnlyTopic: "topiclock", modes.RegisteredOnly: "reginvite", modes.RegisteredOnlySpeak: "regmoderated",
		modes.Secret: "secret", modes.NoCTCP: "noctcp",
		modes.ChanRoleplaying: handoffOwnMode + "roleplay", modes.OpModerated: handoffOwnMode + "opmoderated",
	}
	handoffLists = map[modes.Mode]string{
		modes.BanMask: "ban", modes.ExceptMask: "banexception", modes.InviteMask: "invex",
	}
	handoffUserModes = map[modes.Mode]string{ // operator and server notices are told by oper and snomask
		modes.Bot: "bot", modes.Invisible: "invisible", modes.RegisteredOnly: "regdeaf", modes.UserNoCTCP: "noctcp", modes.WallOps: "wallops",
		modes.UserRoleplaying: handoffOwnMode + "roleplay", modes.TLS: handoffOwnMode + "secure", modes.Restricted: handoffOwnMode + "restricted",
	}
)

const (
	handoffOwnMode = "x." + handoffSoftware + ".mode."
	handoffForward = handoffOwnMode + "forward" // +f: where to go who may not join
)

// handoffModeKey is the key of a record for a name of the tables.
func handoffModeKey(name string) string {
	if strings.HasPrefix(name, handoffOwnMode) {
		return name
	}
	return "m." + name
}

// handoffModeOf is the mode of a key, if the table has it.
func handoffModeOf(table map[modes.Mode]string, key string) (modes.Mode, bool) {
	for mode, name := range table {
		if handoffModeKey(name) == key {
			return mode, true
		}
	}
	return 0, false
}
