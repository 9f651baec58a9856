// SPDX-License-Identifier: MIT

package irc

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ergochat/ergo/irc/caps"
	"github.com/ergochat/ergo/irc/connection_limits"
	"github.com/ergochat/ergo/irc/modes"
	"github.com/ergochat/ergo/irc/protocol"
	"github.com/ergochat/ergo/irc/sno"
	"github.com/ergochat/ergo/irc/utils"
)

// handoffUserKeys are the keys of USER that are kept; id, class and silence are known to the standard and not to Ergo.
var handoffUserKeys = []string{"u", "nick", "nts", "ident", "rhost", "dhost", "ip", "port", "real", "signon", "idle", "away", "awayat",
	"account", "certfp", "tls", "oper", "snomask", "caps", "capver", "monitor", "accept", "invites",
	handoffKeyClient, handoffKeySession, handoffKeyWith, handoffKeyLocal, handoffKeyHistory}

// user builds one stream's session, and its client if the record is the client's first.
func (b *handoffBuilder) user(r protocol.User) {
	note := protocol.Note{U: r.U()}
	u := &handoffNewUser{record: r, first: !r.Has(handoffKeyWith)}
	b.users = append(b.users, u)
	b.byU[r.U()] = u
	b.address(u, note)
	b.session(u, note)
	if u.first {
		b.client(u, note)
	} else if first := b.byU[r.Get(handoffKeyWith)]; first != nil && first.first && first.client.nick == r.Nick() {
		u.client, u.account = first.client, first.account
	} else {
		b.conflict(note, "bad-value", handoffKeyWith, "not a stream of the same user")
		u.client = &Client{server: b.server, nick: r.Nick()}
	}
	u.session.client = u.client
	b.limit(u, note)
	b.unknown(r.Message, note, handoffUserKeys...)
	if message := b.end.banned(u); message != "" {
		b.conflict(note, "banned", "rhost", message)
	}
}

// address is where the client comes from and what it reached.
func (b *handoffBuilder) address(u *handoffNewUser, note protocol.Note) {
	r := u.record
	ip, err := netip.ParseAddr(r.Get("ip"))
	if err != nil || ip.Zone() != "" {
		b.conflict(note, "bad-value", "ip", "not an address")
		ip = netip.IPv4Unspecified()
	}
	port, _ := r.Int("port")
	u.open = protocol.Open{U: r.U(), Remote: netip.AddrPortFrom(ip.Unmap(), uint16(port)), TLS: r.Get("tls"), CertFP: r.Get("certfp")}
	if u.open.Local, err = netip.ParseAddrPort(r.Get(handoffKeyLocal)); err != nil {
		u.open.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
}

// session is what belongs to the connection.
func (b *handoffBuilder) session(u *handoffNewUser, note protocol.Note) {
	r := u.record
	var state handoffSession
	if !b.private(r.Message, note, handoffKeySession, &state) {
		state.Created, state.Host, state.Away = time.Unix(r.Signon(), 0).UTC(), r.Get("rhost"), r.Get("away")
		state.Active = time.Now().UTC().Add(-time.Duration(r.Idle()) * time.Second)
		if at, _ := r.Int("awayat"); at > 0 {
			state.AwayAt = time.Unix(at, 0).UTC()
		}
	}
	s := &Session{capState: caps.NegotiatedState, capVersion: caps.Cap301, ctime: state.Created, lastActive: state.Active,
		realIP: net.IP(u.open.Remote.Addr().AsSlice()).To16(), rawHostname: state.Host, hostnameFinalized: true, certfp: u.open.CertFP,
		deviceID: state.Device, sessionID: state.ID, awayMessage: state.Away, awayAt: state.AwayAt, webPushEndpoint: state.Push,
		autoreplayMissedSince: state.MissedSince, isupportSentPrereg: true}
	s.sasl.Initialize()
	s.batchCounter.Store(state.Batches)
	if len(state.Subscriptions) > 0 {
		s.metadataSubscriptions = utils.SetLiteral(state.Subscriptions...)
	}
	if v, _ := r.Int("capver"); v >= int64(caps.Cap302) {
		s.capVersion = caps.Version(v)
	}
	for _, name := range r.List("caps") {
		name, _, _ = strings.Cut(name, "=")
		capab, err := caps.NameToCapability(name)
		if err != nil || !b.config.Server.supportedCaps.Has(capab) {
			b.warn(note, "unknown-cap", "caps", name)
			continue
		}
		s.capabilities.Enable(capab)
	}
	if m := state.Multiline; m != nil {
		s.multilineBatch = MultilineBatch{label: m.Label, command: m.Command, target: m.Target, responseLabel: m.Response,
			message: m.Message, lenBytes: m.Bytes, tags: m.Tags}
	}
	u.session, u.lag, u.monitor = s, state.Lag, r.List("monitor")
}

// client is who the user is.
func (b *handoffBuilder) client(u *handoffNewUser, note protocol.Note) {
	r, now := u.record, time.Now().UTC()
	var state handoffClient
	own := b.private(r.Message, note, handoffKeyClient, &state)
	if !own {
		state.Signon, state.Active = time.Unix(r.Signon(), 0).UTC(), now.Add(-time.Duration(r.Idle())*time.Second)
		if state.Host = r.Get("rhost"); r.Get("dhost") != state.Host {
			state.Cloak = r.Get("dhost")
		}
	}
	if strings.ContainsAny(state.Host+state.Cloak+state.VHost, " !@") && b.fault == nil {
		b.fault = &protocol.Error{Code: protocol.CodeBadRecord, U: r.U(), Text: "USER " + handoffKeyClient + ": no host"}
	}
	if state.Host == "" {
		state.Host = utils.IPStringToHostname(u.open.Remote.Addr().String())
	}
	c := &Client{server: b.server, registered: true, nick: r.Nick(), username: r.Get("ident"), realname: r.Get("real"), accountName: "*",
		ctime: state.Signon, lastActive: state.Active, channels: make(ChannelSet), realIP: u.session.realIP,
		rawHostname: state.Host, cloakedHostname: state.Cloak, awayMessage: r.Get("away"), languages: state.Languages,
		lastSeen: state.LastSeen, readMarkers: state.ReadMarkers, metadata: state.Metadata, registerCmdSent: state.RegisterSent,
		nextSessionID: max(state.NextSession, 1), metadataThrottle: state.MetadataThrottle}
	throttling := b.config.Accounts.LoginThrottling
	c.loginThrottle = connection_limits.GenericThrottle{ThrottleDetails: state.Logins, Duration: throttling.Duration, Limit: throttling.MaxAttempts}
	c.history.Initialize(b.config.History.ClientLength, time.Duration(b.config.History.AutoresizeWindow))
	u.client, u.accept = c, r.List("accept")
	b.account(u, note, state)
	if u.account != nil {
		c.vhost = state.VHost
	}
	b.rights(u, note)
	for name, invite := range state.Invites {
		if c.invitedTo == nil {
			c.invitedTo = make(map[string]channelInvite)
		}
		c.invitedTo[name] = channelInvite{channelCreatedAt: invite.Channel, invitedAt: invite.At}
	}
	if !own && r.Has("invites") {
		b.warn(note, "changed", "invites", "an invitation here belongs to a channel of a moment")
	}
	b.nick(u, note)
	c.updateNickMaskNoMutex()
	if dhost := r.Get("dhost"); dhost != "" && dhost != c.hostname {
		b.warn(note, "changed", "dhost", "shown as "+c.hostname)
	}
}

// account is kept if this server has it too: a record makes nobody somebody else.
func (b *handoffBuilder) account(u *handoffNewUser, note protocol.Note, state handoffClient) {
	name := u.record.Account()
	if name == "" {
		return
	}
	account, err := b.server.accounts.LoadAccount(name)
	switch {
	case err != nil || !account.Verified || account.Suspended != nil:
		b.warn(note, "changed", "account", "no such account here: logged out")
	case !state.Registered.IsZero() && !state.Registered.Equal(account.RegisteredAt):
		b.warn(note, "changed", "account", "the account here is another one: logged out")
	default:
		u.account = &account
	}
}

// rights are modes, and what this server's own configuration gives to an operator of the name.
func (b *handoffBuilder) rights(u *handoffNewUser, note protocol.Note) {
	c, r := u.client, u.record
	for _, f := range handoffModes(r.Message) {
		if mode, ok := handoffModeOf(handoffUserModes, f.Key); ok {
			c.SetMode(mode, true)
		} else {
			b.warn(note, "unknown-mode", f.Key, "no such mode here")
		}
	}
	if r.Get("tls") != "" {
		c.SetMode(modes.TLS, true)
	}
	name := r.Get("oper")
	if name == "" {
		if r.Has("snomask") {
			b.warn(note, "changed", "snomask", "not an operator")
		}
		return
	}
	if c.oper = b.server.GetOperator(name); c.oper == nil {
		b.warn(note, "unknown-oper", "oper", "no such operator here: none any more")
		return
	}
	c.SetMode(modes.Operator, true)
	for _, letter := range r.Get("snomask") {
		if !slices.Contains(sno.ValidMasks, sno.Mask(letter)) {
			b.warn(note, "changed", "snomask", "no mask "+string(letter)+" here")
			continue
		}
		u.snomasks = append(u.snomasks, sno.Mask(letter))
	}
}

// nick looks for who has the name, and reserves it. Who is always on and has no connection has waited for this one.
func (b *handoffBuilder) nick(u *handoffNewUser, note protocol.Note) {
	c := u.client
	cfnick, err := CasefoldName(c.nick)
	skeleton, skerr := Skeleton(c.nick)
	if err != nil || skerr != nil || len(c.nick) > b.config.Limits.NickLen || restrictedCasefoldedNicks.Has(cfnick) {
		b.conflict(note, "nick-invalid", "nick", "not a nick here")
		return
	}
	c.nickCasefolded, c.skeleton = cfnick, skeleton
	b.server.clients.RLock()
	here, similar := b.server.clients.byNick[cfnick], b.server.clients.bySkeleton[skeleton]
	b.server.clients.RUnlock()
	if here != nil && here.alwaysOn && len(here.sessions) == 0 && u.account != nil && here.account == u.account.NameCasefolded {
		u.ghost = here
	}
	if handoffReservedNick(cfnick, skeleton) || here != u.ghost || similar != nil && similar != u.ghost {
		b.conflict(note, "nick-in-use", "nick", "the nick, or one that looks the same, is taken")
		return
	}
	b.end.reserve("n" + cfnick)
	b.end.reserve("s" + skeleton)
}
