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


// What the core is asked, as InspIRCd 3 answers it. v4/core.h has the same names.

#pragma once

namespace Handoff
{
	// Users and channels.

	inline User* UserNamed(const std::string& nick) { return ServerInstance->FindNickOnly(nick); }
	inline User* UserWithID(const std::string& id) { return ServerInstance->FindUUID(id); }
	inline Channel* ChannelNamed(const std::string& name) { return ServerInstance->FindChan(name); }
	inline auto& AllChannels() { return ServerInstance->chanlist; }
	inline bool IsNick(const std::string& nick) { return ServerInstance->IsNick(nick); }
	inline bool IsChannel(const std::string& name) { return ServerInstance->IsChannel(name); }
	inline const std::string& ServerID() { return ServerInstance->Config->GetSID(); }

	inline bool IsRegistered(const User* user) { return user->registered == REG_ALL; }
	inline time_t NickTime(const User* user) { return user->age; }
	inline const std::string& AwayText(const User* user) { return user->awaymsg; }
	inline time_t AwayTime(const User* user) { return user->awaytime; }

	/** The ident that others see. */
	inline const std::string& Ident(const User* user) { return user->ident; }

	/** The one that bans go by where it is another; there is but one here. */
	inline std::string HiddenIdent(const User*) { return std::string(); }
	const bool HidesIdents = false;
	inline size_t IdentLimit() { return ServerInstance->Config->Limits.IdentMax; }

	// Modes.

	/** Has a mode change itself. Nobody is told. False: it does not take it. */
	inline bool ChangeMode(ModeHandler* mh, User* user, Channel* chan, std::string& param, bool adding)
	{
		return mh->OnModeChange(ServerInstance->FakeClient, user, chan, param, adding) == MODEACTION_ALLOW;
	}

	/** Completes a list entry as one that a user sets. ChangeMode does so here. */
	inline void Complete(const ModeHandler*, std::string&) { }

	/** A member's status, highest first. */
	inline std::vector<PrefixMode*> StatusOf(const Membership* memb)
	{
		std::vector<PrefixMode*> status;
		for (const char letter : memb->modes)
			if (PrefixMode* const pm = ServerInstance->Modes.FindPrefixMode(letter))
				status.push_back(pm);
		return status;
	}

	/** Whether nobody can give it to a member: GetLevelRequired of such a status. */
	const auto NobodysLevel = UINT_MAX;

	// Connection classes.

	typedef ConnectClass* ClassRef;

	inline bool Denies(const ConnectClass& c) { return c.type == CC_DENY; }
	inline bool Allows(const ConnectClass& c) { return c.type == CC_ALLOW; }
	inline unsigned long CommandRate(LocalUser* user) { return user->MyClass->GetCommandRate(); }
	inline unsigned long PingTime(LocalUser* user) { return user->MyClass->GetPingTime(); }

	// Operators.

	typedef reference<OperInfo> OperRef;

	inline std::string OperType(const OperRef& oper) { return oper->name; }

	/** The name of the operator's block, if he has one. */
	inline std::string OperBlock(const OperRef& oper) { return oper->oper_block ? oper->oper_block->getString("name") : std::string(); }

	inline bool MayUse(const OperRef& oper, const ModeHandler* mh)
	{
		const unsigned char letter = mh->GetModeChar();
		return ModeParser::IsModeChar(letter) && oper->AllowedUserModes[letter - 'A'];
	}

	inline bool MayHear(const OperRef& oper, char letter) { return isalpha(letter) && oper->AllowedSnomasks[letter - 'A']; }

	/** The rights of a block if it is of this type, else those of the type, or none. */
	inline OperRef OperNamed(const std::string& type, const std::string& block)
	{
		const ServerConfig::OperIndex& blocks = ServerInstance->Config->oper_blocks;
		const ServerConfig::OperIndex& types = ServerInstance->Config->OperTypes;
		const auto b = blocks.find(block), t = types.find(type);
		OperRef oper;
		if (b != blocks.end() && b->second->name == type)
			oper = b->second;
		else if (t != types.end())
			oper = t->second;
		if (oper)
			oper->init(); // its permissions, which the core reckons when somebody becomes one
		return oper;
	}

	// All else.

	inline void WriteLog(const std::string& text) { ServerInstance->Logs.Log(MODNAME, LOG_DEFAULT, text); }

	inline bool ToDuration(const std::string& text, unsigned long& seconds) { return InspIRCd::Duration(text, seconds); }

	inline bool ToSockaddrs(const std::string& addr, int port, irc::sockets::sockaddrs& sa) { return irc::sockets::aptosa(addr, port, sa); }

	inline void SetCap(Cap::Capability* cap, User* user) { cap->set(user, true); }

	/** The tokens of 005. */
	inline std::vector<std::string> ISupportTokens()
	{
		std::vector<std::string> tokens;
		for (const Numeric::Numeric& line : ServerInstance->ISupport.GetLines())
			for (size_t p = 0; p + 1 < line.GetParams().size(); ++p) // the last is for people
				tokens.push_back(line.GetParams()[p]);
		return tokens;
	}

	inline const std::string& ErrorOf(const StreamSocket& sock) { return sock.getError(); }
	inline size_t Unwritten(const StreamSocket& sock) { return sock.getSendQSize(); }

	inline void AddUser(int fd, ListenSocket* via, irc::sockets::sockaddrs& client, irc::sockets::sockaddrs& server)
	{
		ServerInstance->Users.AddUser(fd, via, &client, &server);
	}

	/** Lets a listener's TLS and other hooks have a connection of ours. */
	inline void Hook(StreamSocket* sock, IOHookProvider* provider, const irc::sockets::sockaddrs& client, const irc::sockets::sockaddrs& server)
	{
		provider->OnAccept(sock, const_cast<irc::sockets::sockaddrs*>(&client), const_cast<irc::sockets::sockaddrs*>(&server));
	}

	/** Fingerprints of the certificate that a peer of ours has shown. */
	inline std::vector<std::string> FingerprintsOf(StreamSocket* sock)
	{
		const std::string fingerprint = SSLClientCert::GetFingerprint(sock);
		return fingerprint.empty() ? std::vector<std::string>() : std::vector<std::string>(1, fingerprint);
	}
}
