/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */


// Verbs that ask and change nothing (HANDOFF.md, section 4).

#pragma once

namespace Handoff
{
	inline void Control::Hello(const Line& line)
	{
		const Settings& settings = hub.world.settings;
		const std::string& v = line.Get("v");
		if (v.substr(0, v.find('.')) != HANDOFF_MAJOR)
			return EndWith(Fault("version", "this ircd speaks HANDOFF/" HANDOFF_MAJOR));
		const bool asks = line.Has("nonce") && !line.Has("pass") && !line.Has("proof");
		if (!settings.pass.empty() && !greeted && asks)
			return Challenge(line);
		if (!settings.pass.empty() && (!greeted || line.Has("pass")) && !KnowsPass(line))
			return EndWith(Fault("denied", "wrong pass or proof"));
		if (GetIOHook() && !KnowsPeer())
			return EndWith(Fault("denied", "wrong certificate"));
		if (line.Get("role") != "coordinator")
			return EndWith(Fault("bad-value", "HELLO role: not coordinator"));
		if (!hub.exporttx.empty())
			return Error(Fault("busy", "an export is open"));
		greeted = true;
		coordinator = line.Get("name");
		SendHello();
	}

	/** Proves that this end knows pass, and asks for the other's proof. */
	inline void Control::Challenge(const Line& line)
	{
		if (!IsHex32(line.Get("nonce")))
			return EndWith(Fault("bad-value", "HELLO nonce: not 32 lower-case hex digits"));
		nonces = line.Get("nonce") + " " + World::Random();
		Send(Line("CHALLENGE").Add("nonce", nonces.substr(33)).Add("proof", Proof(hub.world.settings.pass, "HANDOFF/1 CHALLENGE " + nonces)));
	}

	/** Whether a HELLO has pass, or the proof that the last CHALLENGE, which is good for one, has asked for. */
	inline bool Control::KnowsPass(const Line& line)
	{
		std::string asked;
		asked.swap(nonces);
		if (!line.Has("proof"))
			return SameSecret(line.Get("pass"), hub.world.settings.pass);
		return !asked.empty() && line.Get("nonce") == asked.substr(0, 32)
			&& SameSecret(line.Get("proof"), Proof(hub.world.settings.pass, "HANDOFF/1 HELLO " + asked + " " + line.Get("name")));
	}

	/** Whether the certificate that the peer has shown is one of those that may. */
	inline bool Control::KnowsPeer()
	{
		const std::vector<std::string> shown = FingerprintsOf(this);
		irc::spacesepstream known(hub.world.settings.fingerprints);
		for (std::string fingerprint; known.GetToken(fingerprint); )
			if (std::find(shown.begin(), shown.end(), fingerprint) != shown.end())
				return true;
		return false;
	}

	inline void Control::SendHello()
	{
		ListenSocket* const via = Hub::StreamListener();
		ProtocolInterface::ServerList servers;
		ServerInstance->PI->GetServerList(servers);
		Line m("HELLO");
		m.Add("v", HANDOFF_MAJOR).Add("software", "inspircd").Add("version", VersionNumber()).Add("name", ServerInstance->Config->GetServerName());
		m.Add("sid", ServerID()).Add("epoch", hub.world.epoch);
		m.Add("users", ServerInstance->Users.LocalUserCount()).Add("unmovable", hub.world.Unmovable(coordinator));
		m.Add("channels", AllChannels().size()).Add("links", servers.empty() ? 0 : servers.size() - 1);
		if (via)
		{
			irc::sockets::sockaddrs sa(via->bind_sa);
			socklen_t length = sizeof(sa);
			getsockname(via->GetFd(), &sa.sa, &length);
			m.Add("stream", sa.str());
		}
		m.Add("skey", hub.world.skey).Set("caps", Caps()).Set("isupport", ISupport());
		m.Add("maxusers", hub.world.settings.maxusers).Add("maxline", MaxLine).Add("feat", "open export import peek find proof missing quiet fence remain links");
		Send(AddLinks(m));
	}

	/** "InspIRCd-4.7.0-debian@4.7.0+ds1-2" without the name and what the packager knows of it. */
	inline std::string Control::VersionNumber()
	{
		const std::string version(INSPIRCD_VERSION);
		const size_t begin = version.find('-') + 1;
		return version.substr(begin, version.find('@', begin) - begin);
	}

	/** InspIRCd has no list of its capabilities for others: those that exist, and those that were added while we were there. */
	inline std::string Control::Caps() const
	{
		static const char* const known[] = {
			"account-notify", "account-tag", "away-notify", "batch", "cap-notify", "chghost", "draft/channel-rename", "echo-message",
			"extended-join", "inspircd.org/poison", "inspircd.org/standard-replies", "invite-notify", "labeled-response", "message-tags",
			"multi-prefix", "sasl", "server-time", "setname", "draft/setname", "standard-replies", "sts", "tls", "userhost-in-names",
			"inspircd.org/channel-context",
		};
		std::set<std::string> names(known, known + sizeof(known) / sizeof(known[0]));
		names.insert(hub.world.caps.begin(), hub.world.caps.end());
		Cap::Manager* const manager = ServerInstance->Modules.FindDataService<Cap::Manager>("capmanager");
		std::string list;
		for (std::set<std::string>::const_iterator i = names.begin(); manager && i != names.end(); ++i)
		{
			const Cap::Capability* const cap = manager->Find(*i);
			if (!cap)
				continue;
			list.append(list.empty() ? "" : " ").append(*i);
			const std::string* const value = *i == "sasl" ? cap->GetValue(nullptr) : nullptr; // the others that have one look at the user
			if (value && !value->empty() && value->find(' ') == std::string::npos)
				list.append("=").append(*value);
		}
		return list;
	}

	inline std::string Control::ISupport()
	{
		std::string list;
		for (const std::string& token : ISupportTokens())
			list.append(list.empty() ? "" : " ").append(token);
		return list;
	}

	inline void Control::Ping(const Line& line)
	{
		Send(Line("PONG").Add("t", line.Get("t")));
	}

	inline void Control::Find(const Line& line)
	{
		LocalUser* const user = IS_LOCAL(UserNamed(line.Get("nick")));
		const Stream* const stream = user ? hub.world.streams.Get(user) : nullptr;
		if (!stream)
			return Error(Fault("not-found", "nobody of a stream has the nick"));
		Send(Line("FOUND").Add("u", stream->u).Add("nick", user->nick));
	}

	inline void Control::Status(const Line& line)
	{
		const Transaction t = Look(line.Get("tx"));
		Send(Line("STATUS").Add("tx", line.Get("tx")).Add("source", t.source).Add("dest", t.dest));
	}
}
