// Package replay is the driver for ircds that cannot give their users away: it makes them again on the ircd that has come back, while the proxy holds
// their clients. To the coordinator it is a Party like any other (package handoff), so that guards, journal, park time and reports are those of every move.
//
// # As source
//
// What a user's own stream tells is recorded while he is there (proxy/track). At EXPORT his clients are frozen; each stream is fenced with a PING, so that all that was said before is
// run and answered. Then each is asked for what streams do not tell: the user's modes, and of each channel, by one of its members, operators first, its modes, time, topic
// and lists. What comes as an answer is kept from the client, and behind the answers the stream is not read any more: it is mute, as all others are, when the first of
// them is closed, so that nobody sees another quit.
//
// # As destination
//
// PREPARE makes the users again, each step for all before the next:
//
//  1. register: who the client is, capabilities, nick, user; then away text, lists, user modes
//  2. of each channel, one who had operator status there joins first, and becomes operator by that
//  3. all others join
//  4. statuses; then topic and list entries, by who had set them if he is an operator there; then modes, +i, +k and +l last
//  5. all is asked again as at EXPORT, and compared: each difference is a warning of PREPARED
//  6. a last fence on every stream: what comes behind it is the client's
//
// COMMIT gives the streams to the proxy. Until then ABORT, or any error, closes them, and the next try begins anew.
//
// # What users cannot restore
//
// The users' own powers (repair: none) do not reach: channel times, the times of topics and list entries, and their setters if they are not there as operators; statuses above
// operator; logins, since secrets are not kept; operators of the ircd; user modes that only the ircd sets. These are told as warnings.
package replay
