package ircd

import "strings"

// modeKind says when a mode takes a parameter.
type modeKind uint8

const (
	modeFlag   modeKind = iota // never
	modeLimit                  // when set
	modeKey                    // always
	modeList                   // always; without one the list is shown
	modePrefix                 // always: a member's nick
)

// chanMode is one channel mode. name is the canonical name of HANDOFF/1 records.
type chanMode struct {
	letter byte
	name   string
	kind   modeKind
}

var chanModeTable = []chanMode{
	{'b', "ban", modeList},
	{'e', "banexception", modeList},
	{'I', "invex", modeList},
	{'k', "key", modeKey},
	{'l', "limit", modeLimit},
	{'i', "inviteonly", modeFlag},
	{'m', "moderated", modeFlag},
	{'n', "noextmsg", modeFlag},
	{'s', "secret", modeFlag},
	{'t', "topiclock", modeFlag},
	{'o', "op", modePrefix},
	{'v', "voice", modePrefix},
}

// userMode is one user mode, named likewise.
type userMode struct {
	letter byte
	name   string
}

var userModeTable = []userMode{
	{'i', "invisible"},
	{'o', "oper"},
	{'s', "snomask"},
	{'w', "wallops"},
	{'x', "cloak"},
}

const (
	chanModesISupport = "beI,k,l,imnst"
	chanModeLetters   = "Ibeiklmnostv"
	userModeLetters   = "ioswx"
	snomaskLetters    = "ckq" // connects, kills, quits
)

// letters is a set of mode letters, of which a-z and A-Z each have a bit.
type letters uint64

func letterBit(c byte) letters {
	if c >= 'a' {
		return 1 << (c - 'a' + 26)
	}
	return 1 << (c - 'A')
}

func (l letters) has(c byte) bool { return l&letterBit(c) != 0 }
func (l *letters) set(c byte)     { *l |= letterBit(c) }
func (l *letters) unset(c byte)   { *l &^= letterBit(c) }

// String answers the letters in order, without sign.
func (l letters) String() string {
	var b strings.Builder
	for c := byte('A'); c <= 'z'; c++ {
		if isLetter(c) && l.has(c) {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// userModes are a user's flags.
type userModes = letters

// memberModes are a member's statuses.
type memberModes uint8

const (
	memberVoice memberModes = 1 << iota
	memberOp
)

// statuses is from the highest down, as PREFIX in ISUPPORT says it.
var statuses = []struct {
	mode   memberModes
	letter byte
	prefix byte
}{
	{memberOp, 'o', '@'},
	{memberVoice, 'v', '+'},
}

// prefixes answers the prefix characters: the highest, or all of them with multi-prefix.
func (m memberModes) prefixes(all bool) string {
	var b []byte
	for _, st := range statuses {
		if m&st.mode != 0 {
			b = append(b, st.prefix)
			if !all {
				break
			}
		}
	}
	return string(b)
}

// letters answers the mode letters, highest first.
func (m memberModes) letters() string {
	var b []byte
	for _, st := range statuses {
		if m&st.mode != 0 {
			b = append(b, st.letter)
		}
	}
	return string(b)
}

// memberMode answers the status of a mode letter, 0 for others.
func memberMode(letter byte) memberModes {
	for _, st := range statuses {
		if st.letter == letter {
			return st.mode
		}
	}
	return 0
}

func findChanMode(letter byte) *chanMode {
	for i := range chanModeTable {
		if chanModeTable[i].letter == letter {
			return &chanModeTable[i]
		}
	}
	return nil
}
