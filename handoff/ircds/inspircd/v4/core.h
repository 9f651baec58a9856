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


// What the core is asked, as InspIRCd 4 answers it. v3/core.h has the same names.

#pragma once

#include "modules/extban.h"
#include "modules/isupport.h"
#include "timeutils.h"

namespace Handoff
{
	// Users and channels.

	inline User* UserNamed(const std::string& nick) { return ServerInstance->Users.FindNick(nick); }
	inline User* UserWithID(const std::string& id) { return ServerInstance->Users.FindUUID(id); }
	inline Channel* ChannelNamed(const std::string& name) { return ServerInstance->Channels.Find(name); }
	inline auto& AllChannels() { return ServerInstance->Channels.GetChans(); }
	inline bool IsNick(const std::string& nick) { return ServerInstance->IsNick(nick); }
	inline bool IsChannel(const std::string& name) { return ServerInstance->Channels.IsChannel(name); }
	inline const std::string& ServerID() { return ServerInstance->Config->ServerId; }

	inline bool IsRegistered(const User* user) { return user->IsFullyConnected(); }
	inline time_t NickTime(const User* user) { return user->nickchanged; }
	inline const std::string& AwayText(const User* user) { return user->away->message; }
	inline time_t AwayTime(const User* user) { return user->away->time; }

	/** The ident that others see. */
	inline const std::string& Ident(const User* user) { return user->GetDisplayedUser(); }

	/** The one that bans go by where it is another. */
	inline std::string HiddenIdent(const User* user)
	{
		return user->GetRealUser() == user->GetDisplayedUser() ? std::string() : user->GetRealUser();
	}
	const bool HidesIdents = true;
	inline size_t IdentLimit() { return ServerInstance->Config->Limits.MaxUser; }

	// Modes.

	/** Has a mode change itself. Nobody is told. False: it does not take it. */
	inline bool ChangeMode(ModeHandler* mh, User* user, Channel* chan, std::string& param, bool adding)
	{
		Modes::Change change(mh, adding, param);
		const bool taken = mh->OnModeChange(ServerInstance->FakeClient, user, chan, change);
		param = change.param;
		return taken;
	}

	/** Completes a list entry as one that a user sets: ChangeMode takes what it gets. */
	inline void Complete(const ModeHandler* mh, std::string& mask)
	{
		if (mh->name != "ban" && mh->name != "banexception" && mh->name != "invex")
			return;
		const auto* const extbans = ServerInstance->Modules.FindDataService<ExtBan::Manager>("extbanmanager");
		if (!extbans || !extbans->Canonicalize(mask))
			ModeParser::CleanMask(mask);
	}

	/** A member's status, highest first. */
	inline std::vector<PrefixMode*> StatusOf(const Membership* memb)
	{
		return std::vector<PrefixMode*>(memb->modes.begin(), memb->modes.end());
	}

	/** Whether nobody can give it to a member: GetLevelRequired of such a status. */
	const auto NobodysLevel = std::numeric_limits<ModeHandler::Rank>::max();

	// Connection classes.

	typedef std::shared_ptr<ConnectClass> ClassRef;

	inline bool Denies(const ConnectClass& c) { return c.type == ConnectClass::DENY; }
	inline bool Allows(const ConnectClass& c) { return c.type == ConnectClass::ALLOW; }
	inline unsigned long CommandRate(LocalUser* user) { return user->GetClass()->commandrate; }
	inline unsigned long PingTime(LocalUser* user) { return user->GetClass()->pingtime; }

	// Operators.

	typedef std::shared_ptr<OperAccount> OperRef;

	inline std::string OperType(const OperRef& oper) { return oper->GetType(); }

	/** The name of the operator's account, if the configuration has it. */
	inline std::string OperBlock(const OperRef& oper)
	{
		return ServerInstance->Config->OperAccounts.count(oper->GetName()) ? oper->GetName() : std::string();
	}

	inline bool MayUse(const OperRef& oper, const ModeHandler* mh) { return oper->CanUseMode(mh); }
	inline bool MayHear(const OperRef& oper, char letter) { return oper->CanUseSnomask(letter); }

	/** The rights of an account if it is of this type, else those of the type, or none. */
	inline OperRef OperNamed(const std::string& type, const std::string& block)
	{
		const auto& accounts = ServerInstance->Config->OperAccounts;
		const auto& types = ServerInstance->Config->OperTypes;
		const auto b = accounts.find(block);
		const auto t = types.find(type);
		if (b != accounts.end() && b->second->GetType() == type)
			return b->second;
		if (t != types.end())
			return std::make_shared<OperAccount>(type, t->second, ServerInstance->Config->EmptyTag);
		return OperRef();
	}

	// All else.

	inline void WriteLog(const std::string& text) { ServerInstance->Logs.Normal(MODNAME, text); }

	inline bool ToDuration(const std::string& text, unsigned long& seconds) { return Duration::TryFrom(text, seconds); }

	inline bool ToSockaddrs(const std::string& addr, int port, irc::sockets::sockaddrs& sa) { return sa.from_ip_port(addr, port); }

	inline void SetCap(Cap::Capability* cap, User* user) { cap->Set(user, true); }

	/** The tokens of 005, as far as they are those of all classes. The core has them for itself: its own are named here, modules are asked. */
	inline std::vector<std::string> ISupportTokens()
	{
		const ServerConfig& config = *ServerInstance->Config;
		const auto& limits = config.Limits;
		ISupport::TokenMap tokens = {
			{ "AWAYLEN", ConvToStr(limits.MaxAway) }, { "CASEMAPPING", config.CaseMapping }, { "CHANNELLEN", ConvToStr(limits.MaxChannel) },
			{ "CHANTYPES", "#" }, { "HOSTLEN", ConvToStr(limits.MaxHost) }, { "KICKLEN", ConvToStr(limits.MaxKick) },
			{ "LINELEN", ConvToStr(limits.MaxLine) }, { "MAXTARGETS", ConvToStr(config.MaxTargets) }, { "MODES", ConvToStr(limits.MaxModes) },
			{ "NETWORK", config.Network }, { "NAMELEN", ConvToStr(limits.MaxReal) }, { "NICKLEN", ConvToStr(limits.MaxNick) },
			{ "TOPICLEN", ConvToStr(limits.MaxTopic) }, { "USERLEN", ConvToStr(limits.MaxUser) },
		};
		if (auto* const asked = ServerInstance->Modules.FindDataService<ISupport::EventProvider>("event/isupport"))
			asked->Call(&ISupport::EventListener::OnBuildISupport, tokens);
		std::vector<std::string> list;
		for (const auto& [name, value] : tokens)
			if (name.find_first_of(" =") == std::string::npos && IsOneLine(value) && value.find(' ') == std::string::npos)
				list.push_back(value.empty() ? name : name + "=" + value);
		return list;
	}

	inline const std::string& ErrorOf(const StreamSocket& sock) { return sock.GetError(); }
	inline size_t Unwritten(const StreamSocket& sock) { return sock.GetSendQSize(); }

	inline void AddUser(int fd, ListenSocket* via, irc::sockets::sockaddrs& client, irc::sockets::sockaddrs& server)
	{
		ServerInstance->Users.AddUser(fd, via, client, server);
	}

	/** Lets a listener's TLS and other hooks have a connection of ours. */
	inline void Hook(StreamSocket* sock, IOHookProvider* provider, const irc::sockets::sockaddrs& client, const irc::sockets::sockaddrs& server)
	{
		provider->OnAccept(sock, client, server);
	}

	/** Fingerprints of the certificate that a peer of ours has shown, by each hash of the TLS profile. */
	inline std::vector<std::string> FingerprintsOf(StreamSocket* sock)
	{
		const SSLIOHook* const tls = SSLIOHook::IsSSL(sock);
		const ssl_cert* const cert = tls ? tls->GetCertificate() : nullptr;
		return cert ? cert->GetFingerprints() : std::vector<std::string>();
	}
}
