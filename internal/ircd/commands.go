package ircd

// command is one verb.
type command struct {
	run    func(*Client, *input)
	params int  // fewer are answered 461
	early  bool // allowed before registration
}

// commands is filled in init, because some of its functions look at it.
var commands map[string]command

func init() {
	commands = map[string]command{
		"CAP":  {cmdCap, 1, true},
		"PASS": {cmdPass, 1, true},
		"NICK": {cmdNick, 0, true},
		"USER": {cmdUser, 4, true},
		"PING": {cmdPing, 0, true},
		"PONG": {cmdPong, 0, true},
		"QUIT": {cmdQuit, 0, true},

		"JOIN":   {cmdJoin, 1, false},
		"PART":   {cmdPart, 1, false},
		"TOPIC":  {cmdTopic, 1, false},
		"KICK":   {cmdKick, 2, false},
		"INVITE": {cmdInvite, 0, false},
		"NAMES":  {cmdNames, 0, false},
		"LIST":   {cmdList, 0, false},
		"MODE":   {cmdMode, 1, false},

		"PRIVMSG": {cmdPrivmsg, 0, false},
		"NOTICE":  {cmdNotice, 0, false},
		"TAGMSG":  {cmdTagmsg, 1, false},
		"AWAY":    {cmdAway, 0, false},
		"MONITOR": {cmdMonitor, 1, false},

		"WHO":      {cmdWho, 0, false},
		"WHOIS":    {cmdWhois, 1, false},
		"USERHOST": {cmdUserhost, 1, false},
		"ISON":     {cmdIson, 1, false},

		"OPER":    {cmdOper, 2, false},
		"KILL":    {cmdKill, 1, false},
		"WALLOPS": {cmdWallops, 1, false},

		"MOTD":    {cmdMotd, 0, false},
		"LUSERS":  {cmdLusers, 0, false},
		"VERSION": {cmdVersion, 0, false},
	}
}
