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


// What server links are, as InspIRCd 4 has them. v3/links.h has the same names.

#pragma once

#include "clientprotocol.h"
#include "modules/server.h"

namespace Handoff
{
	/** Whether peers of this protocol are spoken to in a dialect that we can write. */
	inline bool SpeaksProtocol(uint64_t proto) { return proto == 1205 || proto == 1206; }

	/** Whether lists go with setters and times. */
	inline bool HasListLines(uint64_t proto) { return proto >= 1206; }

	/** Whether a peer tells its hop count when it introduces itself. */
	inline bool TellsHops(uint64_t proto) { return proto < 1206; }

	/** Says something that concerns the network as a whole to all that are linked directly. */
	inline void SayToNetwork(const std::string& key, const std::string& value) { ServerInstance->PI->SendMetadata(key, value); }

	inline bool IsService(const Server* server) { return server->IsService(); }
	inline const std::string& OwnName() { return ServerInstance->Config->ServerName; }
	inline std::string AddressOf(User* user) { return user->GetAddress(); }

	/** A user's idents as UID has them: 1205 has one, which is taken for both. */
	inline std::string IdentsOf(const User* user, uint64_t proto)
	{
		return proto < 1206 ? user->GetRealUser() : user->GetRealUser() + " " + user->GetDisplayedUser();
	}

	/** The ident that UID cannot tell, or nothing. */
	inline std::string LaterIdent(const User* user, uint64_t proto)
	{
		return proto < 1206 && user->GetRealUser() != user->GetDisplayedUser() ? user->GetDisplayedUser() : std::string();
	}

	/** The letters of a member's status. */
	inline std::string StatusLetters(const Membership* memb) { return memb->GetAllPrefixModes(); }

	/** The tags of a line that makes somebody an operator: without them he may do everything. */
	inline std::string OperTags(const User* user, uint64_t proto)
	{
		if (proto < 1206)
			return std::string();
		const OperAccount& oper = *user->oper;
		const std::pair<const char*, std::string> tags[] = {
			{ "~name", oper.GetName() }, { "~chanmodes", oper.GetModes(MODETYPE_CHANNEL, true) }, { "~usermodes", oper.GetModes(MODETYPE_USER, true) },
			{ "~snomasks", oper.GetSnomasks(true) }, { "~commands", oper.GetCommands(true) }, { "~privileges", oper.GetPrivileges() },
		};
		std::string text;
		for (const auto& [key, value] : tags)
			text.append(text.empty() ? "@" : ";").append(key).append("=").append(ClientProtocol::Message::EscapeTag(value));
		return text + " ";
	}

	/** Takes what modules say to a server that is linking. */
#if INSPIRCD_VERSION_SINCE(4, 2)
	class Recorder : public Server
	{
		const std::function<void(const std::string&, const std::string&)> take;
		const std::function<void(const Extensible*, const std::string&, const std::string&)> takeof;

	 public:
		Recorder(const std::function<void(const std::string&, const std::string&)>& Take,
			const std::function<void(const Extensible*, const std::string&, const std::string&)>& TakeOf)
			: Server(ServerInstance->Config->ServerId, ServerInstance->Config->ServerName, ""), take(Take), takeof(TakeOf) { }

		void SendMetadata(const std::string& key, const std::string& value) const override { take(key, value); }
		void SendMetadata(const Extensible* ext, const std::string& key, const std::string& value) const override { takeof(ext, key, value); }
	};

	inline void SyncItem(ExtensionItem* item, const Extensible* ext, void* value, Recorder& recorder) { item->OnSync(ext, value, &recorder); }
#else
	class Recorder : public ProtocolServer
	{
		const std::function<void(const std::string&, const std::string&)> take;

	 public:
		Recorder(const std::function<void(const std::string&, const std::string&)>& Take, const std::function<void(const Extensible*, const std::string&, const std::string&)>&)
			: take(Take) { }

		void SendMetadata(const std::string& key, const std::string& value) override { take(key, value); }
	};

	inline void SyncItem(ExtensionItem*, const Extensible*, void*, Recorder&) { }
#endif

	/** Asks those modules that say something of their own to a server that is linking. */
	template <typename Ask>
	void EachSyncListener(const Ask& ask)
	{
		auto* const prov = ServerInstance->Modules.FindDataService<Events::ModuleEventProvider>("event/server-sync");
		if (!prov)
			return;
		for (Events::ModuleEventListener* const listener : prov->GetSubscribers())
			if (listener->GetModule() && !listener->GetModule()->dying)
				ask(static_cast<ServerProtocol::SyncEventListener*>(listener));
	}

	inline const User* AsUser(const Extensible* ext) { return ext->extype == ExtensionType::USER ? static_cast<const User*>(ext) : nullptr; }
	inline const Channel* AsChannel(const Extensible* ext) { return ext->extype == ExtensionType::CHANNEL ? static_cast<const Channel*>(ext) : nullptr; }

	/** Modules that links compare, with what they compare of them. */
	inline std::set<std::string> LinkedModules()
	{
		std::set<std::string> modules;
		for (const auto& [name, mod] : ServerInstance->Modules.GetModules())
		{
			if (!(mod->properties & (VF_COMMON | VF_OPTCOMMON)))
				continue;
			Module::LinkData data;
			std::string compat;
			mod->GetLinkData(data, compat);
			std::string text = name + "=" + compat;
			for (const auto& [key, value] : data)
				text.append("&").append(key).append("=").append(value);
			modules.insert(text);
		}
		return modules;
	}

	/** What a peer of the name has to say as its password; empty: the configuration has no link for it. */
	inline std::string LinkPassword(const std::string& name)
	{
		for (const auto& [_, tag] : ServerInstance->Config->ConfTags("link"))
		{
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
		return ConvToStr(limits.MaxNick) + " " + ConvToStr(limits.MaxChannel) + " " + ConvToStr(limits.MaxModes) + " " + ConvToStr(limits.MaxUser);
	}

	// What spanningtree says of a user whose record could not be kept as it was.

	inline void TellHost(Module* tree, User* user) { tree->OnChangeHost(user, user->GetDisplayedHost()); }
	inline void TellIdent(Module* tree, User* user) { tree->OnChangeUser(user, user->GetDisplayedUser()); }
}
