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


// What server links are, as InspIRCd 3 has them. v4/links.h has the same names.

#pragma once

#include "modules/server.h"

namespace Handoff
{
	/** Whether peers of this protocol are spoken to in a dialect that we can write. */
	inline bool SpeaksProtocol(uint64_t proto) { return proto == 1202 || proto == 1205; }

	/** Whether lists go with setters and times. */
	inline bool HasListLines(uint64_t) { return false; }

	/** Whether a peer tells its hop count when it introduces itself. */
	inline bool TellsHops(uint64_t) { return true; }

	/** Says something that concerns the network as a whole to all that are linked directly. */
	inline void SayToNetwork(const std::string& key, const std::string& value) { ServerInstance->PI->SendMetaData(key, value); }

	inline bool IsService(const Server* server) { return server->IsULine(); }
	inline const std::string& OwnName() { return ServerInstance->Config->ServerName; }
	inline std::string AddressOf(User* user) { return user->GetIPString(); }

	/** A user's idents as UID has them. */
	inline std::string IdentsOf(const User* user, uint64_t) { return user->ident; }

	/** The ident that UID cannot tell, or nothing. */
	inline std::string LaterIdent(const User*, uint64_t) { return std::string(); }

	/** The letters of a member's status. */
	inline std::string StatusLetters(const Membership* memb) { return memb->modes; }

	/** The tags of a line that makes somebody an operator. */
	inline std::string OperTags(const User*, uint64_t) { return std::string(); }

	/** Takes what modules say to a server that is linking. */
	class Recorder : public ProtocolServer
	{
		const std::function<void(const std::string&, const std::string&)> take;

	 public:
		Recorder(const std::function<void(const std::string&, const std::string&)>& Take, const std::function<void(const Extensible*, const std::string&, const std::string&)>&)
			: take(Take) { }

		void SendMetaData(const std::string& key, const std::string& value) override { take(key, value); }
	};

	/** Asks those modules that say something of their own to a server that is linking. */
	template <typename Ask>
	void EachSyncListener(const Ask& ask)
	{
		Events::ModuleEventProvider* const prov = ServerInstance->Modules.FindDataService<Events::ModuleEventProvider>("event/server-sync");
		if (!prov)
			return;
		for (Events::ModuleEventListener* const listener : prov->GetSubscribers())
			if (listener->GetModule() && !listener->GetModule()->dying)
				ask(static_cast<ServerProtocol::SyncEventListener*>(listener));
	}

	// Whom a module speaks of; only those of InspIRCd 4 name one.
	inline const User* AsUser(const Extensible*) { return nullptr; }
	inline const Channel* AsChannel(const Extensible*) { return nullptr; }

	inline void SyncItem(ExtensionItem*, const Extensible*, void*, Recorder&) { }

	/** Modules that links compare, with what they compare of them. */
	inline std::set<std::string> LinkedModules()
	{
		std::set<std::string> modules;
		for (const auto& [name, mod] : ServerInstance->Modules.GetModules())
		{
			const Version v = mod->GetVersion();
			if (v.Flags & (VF_COMMON | VF_OPTCOMMON))
				modules.insert(name + "=" + v.link_data);
		}
		return modules;
	}

	/** What a peer of the name has to say as its password; empty: the configuration has no link for it. */
	inline std::string LinkPassword(const std::string& name)
	{
		const ConfigTagList tags = ServerInstance->Config->ConfTags("link");
		for (ConfigIter i = tags.first; i != tags.second; ++i)
		{
			ConfigTag* const tag = i->second;
			const std::string pass = tag->getString("recvpass", tag->getString("password"));
			if (!pass.empty() && InspIRCd::Match(name, tag->getString("name")))
				return pass;
		}
		return std::string();
	}

	/** Whether users are not told which servers have split. */
	inline bool HidesSplits() { return ServerInstance->Config->ConfValue("security")->getBool("hidesplits"); }

	/** Limits that peers are told, as text. */
	inline std::string LinkLimits()
	{
		const auto& limits = ServerInstance->Config->Limits;
		return ConvToStr(limits.NickMax) + " " + ConvToStr(limits.ChanMax) + " " + ConvToStr(limits.MaxModes) + " " + ConvToStr(limits.IdentMax);
	}

	// What spanningtree says of a user whose record could not be kept as it was.

	inline void TellHost(Module* tree, User* user) { tree->OnChangeHost(user, user->GetDisplayedHost()); }
	inline void TellIdent(Module* tree, User* user) { tree->OnChangeIdent(user, user->ident); }
}
