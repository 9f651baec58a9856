package replay

import (
	"slices"
	"strconv"
	"strings"
)

// dialect is what an ircd's ISUPPORT says of its modes and names.
type dialect struct {
	lists    string // channel modes that are lists, of those that can be read and set by all six kinds of ircds
	always   string // channel modes with a parameter always
	onSet    string // with one when they are set
	prefixes string // statuses, the highest first
	modes    int    // changes with a parameter in one line
	ascii    bool   // casemapping
	newest   bool   // lists are shown with the newest entry first
}

func dialectOf(software string, isupport []string) dialect {
	d := dialect{lists: "b", always: "k", onSet: "l", prefixes: "ov", modes: 3}
	d.newest = software == "solanum" || strings.HasPrefix(software, "ircd") // ircd-hybrid
	for _, w := range isupport {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "CHANMODES":
			if c := strings.Split(value, ","); len(c) >= 4 {
				d.lists, d.always, d.onSet = strings.Map(readable, c[0]), c[1], c[2]
			}
		case "PREFIX":
			if letters, _, ok := strings.Cut(strings.TrimPrefix(value, "("), ")"); ok {
				d.prefixes = letters
			}
		case "MODES":
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				d.modes = min(n, 12)
			}
		case "CASEMAPPING":
			d.ascii = value == "ascii"
		}
	}
	return d
}

// listNames are the lists that can be asked for, with their names in HANDOFF/1 and the numerics of an entry.
var listNames = []struct {
	mode          byte
	name, numeric string
}{{'b', "ban", "367"}, {'e', "banexception", "348"}, {'I', "invex", "346"}, {'q', "quiet", "728"}}

func readable(mode rune) rune {
	for _, l := range listNames {
		if rune(l.mode) == mode {
			return mode
		}
	}
	return -1
}

func listName(mode byte) string {
	for _, l := range listNames {
		if l.mode == mode {
			return l.name
		}
	}
	return ""
}

func listMode(name string) byte {
	for _, l := range listNames {
		if l.name == name {
			return l.mode
		}
	}
	return 0
}

func (d dialect) fold(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
	if !d.ascii {
		s = strings.NewReplacer("[", "{", "]", "}", "\\", "|", "^", "~").Replace(s)
	}
	return s
}

// settings are a channel's modes without lists and statuses.
type settings map[byte]string // letter -> parameter

// parse reads "+ntl 30".
func (d dialect) parse(words []string) settings {
	set := settings{}
	if len(words) == 0 {
		return set
	}
	args := words[1:]
	for _, c := range []byte(strings.TrimPrefix(words[0], "+")) {
		param := ""
		if strings.IndexByte(d.always+d.onSet, c) >= 0 && len(args) > 0 {
			param, args = args[0], args[1:]
		}
		set[c] = param
	}
	return set
}

// String is the form that parse reads, always the same for the same settings.
func (s settings) String() string {
	letters := make([]byte, 0, len(s))
	for c := range s {
		letters = append(letters, c)
	}
	slices.Sort(letters)
	text := "+" + string(letters)
	for _, c := range letters {
		if s[c] != "" {
			text += " " + s[c]
		}
	}
	return text
}

// change is one mode to be set or taken away.
type change struct {
	set   bool
	mode  byte
	param string
}

// lastModes would keep out, or hinder, those who still have to come: they are set last, in this order.
const lastModes = "mlki"

// changes are what makes want of have.
func (d dialect) changes(want, have settings) (all []change) {
	for c, param := range have {
		if _, ok := want[c]; ok {
			continue
		}
		if strings.IndexByte(d.always, c) < 0 {
			param = ""
		}
		all = append(all, change{false, c, param})
	}
	for c, param := range want {
		if is, ok := have[c]; !ok || is != param {
			all = append(all, change{true, c, param})
		}
	}
	slices.SortFunc(all, func(a, b change) int {
		if i, j := strings.IndexByte(lastModes, a.mode), strings.IndexByte(lastModes, b.mode); i != j {
			return i - j
		}
		return int(a.mode) - int(b.mode)
	})
	return all
}

// lines are MODE commands for the changes, as many in each as the ircd takes.
func (d dialect) lines(channel string, all []change) (lines []string) {
	for part := range slices.Chunk(all, d.modes) {
		letters, params, sign := "", "", byte(0)
		for _, c := range part {
			if s := map[bool]byte{true: '+', false: '-'}[c.set]; s != sign {
				sign = s
				letters += string(s)
			}
			letters += string(c.mode)
			if c.param != "" {
				params += " " + c.param
			}
		}
		lines = append(lines, "MODE "+channel+" "+letters+params)
	}
	return lines
}
