package protocol

// Mode is one canonical mode name. Letters differ between ircds; the one here is what most use, for people to recognise it by.
type Mode struct {
	Name    string
	Letter  byte
	Param   bool // has a parameter while it is set
	Meaning string
}

// ChannelModes are the canonical names of CHAN's m. keys; ListModes those of LIST's m; UserModes those of USER's m. keys. The same tables
// are in HANDOFF.md, and a test compares them. A mode without a canonical name goes as x.mode.<the ircd's own name>.
var (
	ChannelModes = []Mode{
		{"allowinvite", 'A', false, "everybody may invite"},
		{"auditorium", 'u', false, "members see operators only"},
		{"blockcolor", 'c', false, "lines with colour codes are refused"},
		{"censor", 'G', false, "listed words are filtered"},
		{"delayjoin", 'D', false, "a JOIN shows when the member first speaks"},
		{"flood", 'f', true, "lines in a time, in the ircd's own form"},
		{"history", 'H', true, "lines played to who joins, in the ircd's own form"},
		{"inviteonly", 'i', false, "invited users only"},
		{"joinflood", 'j', true, "joins in a time, as joins:seconds"},
		{"key", 'k', true, "secret"},
		{"limit", 'l', true, "decimal"},
		{"moderated", 'm', false, "voice is needed to speak"},
		{"nickflood", 'F', true, "nick changes in a time, as changes:seconds"},
		{"noctcp", 'C', false, "no CTCP but ACTION"},
		{"noextmsg", 'n', false, "members only may speak"},
		{"nokick", 'Q', false, "no KICK"},
		{"noknock", 'K', false, "no KNOCK"},
		{"nonick", 'N', false, "no nick change by members"},
		{"nonotice", 'T', false, "no NOTICE"},
		{"operonly", 'O', false, "server operators only"},
		{"permanent", 'P', false, "stays without members"},
		{"private", 'p', false, "hidden in WHOIS and LIST in part"},
		{"redirect", 'L', true, "where to, when full"},
		{"reginvite", 'R', false, "who has an account only"},
		{"registered", 'r', false, "registered with services"},
		{"regmoderated", 'M', false, "an account is needed to speak"},
		{"secret", 's', false, "hidden from all who are not on it"},
		{"sslonly", 'z', false, "TLS only"},
		{"stripcolor", 'S', false, "colour codes are taken out"},
		{"topiclock", 't', false, "operators only set the topic"},
	}
	ListModes = []Mode{
		{"autoop", 'w', true, "status given at JOIN, in the ircd's own form"},
		{"ban", 'b', true, "may not join or speak"},
		{"banexception", 'e', true, "a ban does not count"},
		{"filter", 'g', true, "text that may not be said"},
		{"invex", 'I', true, "needs no invitation"},
		{"quiet", 'q', true, "may not speak"},
	}
	UserModes = []Mode{
		{"bot", 'B', false, "marked as a bot"},
		{"callerid", 'g', false, "messages of accepted users only"},
		{"cloak", 'x', false, "dhost is a cloak"},
		{"commonchans", 'c', false, "messages of users in common channels only"},
		{"deaf", 'd', false, "no channel messages"},
		{"helpop", 'h', false, "available for help"},
		{"hidechans", 'I', false, "no channels in WHOIS"},
		{"hideoper", 'H', false, "operator status is hidden"},
		{"invisible", 'i', false, "hidden from WHO and NAMES of who shares no channel"},
		{"noctcp", 'T', false, "no CTCP but ACTION"},
		{"noredirect", 'L', false, "is not redirected between channels"},
		{"regdeaf", 'R', false, "messages of who has an account only"},
		{"registered", 'r', false, "logged in to the nick"},
		{"showwhois", 'W', false, "is told of a WHOIS"},
		{"sslqueries", 'z', false, "messages of TLS users only"},
		{"stripcolor", 'S', false, "colour codes are taken out"},
		{"wallops", 'w', false, "gets WALLOPS"},
	}
)
