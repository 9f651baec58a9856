/*
 * m_handoff: HANDOFF/1 for InspIRCd 3, so that a proxy can move live users between two processes.
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


// COMMIT's users: what a record tells of one, by itself and once all users and channels are there.

#pragma once

namespace Handoff
{
	/** A host as a middle parameter of a line: InspIRCd writes ::1 as 0::1. */
	inline std::string Host(const std::string& host)
	{
		return std::string(host[0] == ':' ? "0" : "").append(host, 0, ServerInstance->Config->Limits.MaxHost);
	}

	/** What is left of a user's fakelag: as much goes with each second as would have gone without the move. */
	inline unsigned int Penalty(LocalUser* user, const Line& r)
	{
		const uint64_t penalty = std::min<uint64_t>(r.Num(OwnKey + "penalty"), UINT_MAX), at = r.Num(OwnKey + "penalty-at");
		const uint64_t now = ServerInstance->Time(), seconds = at && at < now ? now - at : 0;
		const uint64_t gone = std::min<uint64_t>(seconds, UINT_MAX) * user->MyClass->GetCommandRate();
		return gone < penalty ? penalty - gone : 0;
	}

	/** The user by itself: no channel, no list. */
	inline LocalUser* BuildUser(World& world, NewIDs& ids, const Line& r, int fd)
	{
		unsigned long counters[4] = { 0, 0, 0, 0 };
		sscanf(r.Get(OwnKey + "counters").c_str(), "%lu %lu %lu %lu", &counters[0], &counters[1], &counters[2], &counters[3]);
		const time_t now = ServerInstance->Time();
		const ServerLimits& limits = ServerInstance->Config->Limits;
		const std::string rhost = Host(r.Get("rhost").empty() ? r.Get("ip") : r.Get("rhost")), dhost = Host(r.Get("dhost"));
		irc::sockets::sockaddrs sa;
		const bool local = ToAddress(r.Get(OwnKey + "laddr"), r.Num(OwnKey + "lport"), sa);

		// The core's own constructor for serialised users; extensions come later, because they name other users and channels.
		Serializable::Data data;
		Serializable::Data::EntryMap& entry = data.GetEntries(); // Store would write each into the debug log
		entry["age"] = ConvToStr(r.Num("nts") ? r.Num("nts") : now);
		entry["awaymsg"] = r.Get("away").substr(0, limits.MaxAway);
		entry["awaytime"] = ConvToStr(r.Num("awayat"));
		entry["client_sa.addr"] = r.Get("ip");
		entry["client_sa.port"] = ConvToStr(r.Num("port"));
		entry["displayhost"] = dhost == rhost ? "" : dhost;
		entry["ident"] = r.Get("ident").empty() ? "user" : r.Get("ident").substr(0, limits.IdentMax + 1);
		entry["modes"] = "";
		entry["nick"] = r.Get("nick");
		entry["oper"] = "";
		entry["realhost"] = rhost;
		entry["realname"] = r.Get("real").substr(0, limits.MaxReal);
		entry["signon"] = ConvToStr(r.Num("signon"));
		entry["snomasks"] = "";
		entry["uniqueusername"] = ConvToStr(r.Has(OwnKey + "uniqueusername"));
		entry["bytes_in"] = ConvToStr(counters[0]);
		entry["bytes_out"] = ConvToStr(counters[1]);
		entry["cmds_in"] = ConvToStr(counters[2]);
		entry["cmds_out"] = ConvToStr(counters[3]);
		entry["CommandFloodPenalty"] = ConvToStr(0);
		entry["exempt"] = ConvToStr(0);
		entry["idle_lastmsg"] = ConvToStr(r.Has(OwnKey + "spoke") ? r.Num(OwnKey + "spoke") : now - r.Num("idle"));
		entry["lastping"] = ConvToStr(1);
		entry["nextping"] = ConvToStr(0);
		entry["password"] = "";
		entry["server_sa.addr"] = local ? r.Get(OwnKey + "laddr") : "0.0.0.0";
		entry["server_sa.port"] = ConvToStr(local ? r.Num(OwnKey + "lport") : 0);

		LocalUser* const user = new LocalUser(fd, ids.Choose(r), data);
		user->oper = NULL; // the constructor gives everybody an empty operator type, and whoever has one is an operator
		user->quitting_sendq = 0;
		user->serializer = NULL;
		user->registered = REG_ALL;

		UserManager& manager = ServerInstance->Users;
		manager.clientlist[user->nick] = user;
		manager.AddClone(user);
		const_cast<UserManager::LocalList&>(manager.GetLocalUsers()).push_front(user);

		Module* const rfc = ServerInstance->Modules->Find("core_serialize_rfc.so");
		if (rfc)
			rfc->OnUserInit(user);

		Stream stream;
		stream.u = r.Get("u");
		stream.tls = r.Get("tls");
		stream.certfp = r.Get("certfp");
		stream.Begin(user);
		world.streams.Tie(user, stream);

		user->MyClass = ClassNamed(r.Get("class"));
		if (!user->MyClass)
			user->SetClass();
		if (!user->MyClass || user->MyClass->type == CC_DENY)
			user->MyClass = AnyClass();
		user->nextping = now + user->MyClass->GetPingTime();
		user->CommandFloodPenalty = Penalty(user, r);
		return user;
	}

	inline void FromText(LocalUser* user, const std::string& name, const std::string& value)
	{
		ExtensionItem* const ext = value.empty() ? NULL : ServerInstance->Extensions.GetItem(name);
		if (ext)
			ext->FromInternal(user, value);
	}

	/** The capabilities that the user has by now, each with a space behind it. */
	inline std::string Own(LocalUser* user, const std::string& name)
	{
		const Extensible::ExtensibleStore& store = user->GetExtList();
		for (Extensible::ExtensibleStore::const_iterator i = store.begin(); i != store.end(); ++i)
		{
			if (i->first->name != name)
				continue;
			const std::string value = i->first->ToInternal(user, i->second);
			return value.substr(0, value.length() - 1);
		}
		return std::string();
	}

	inline void UserModes(LocalUser* user, const Line& r)
	{
		for (size_t i = 0; i < r.fields.size(); ++i)
		{
			ModeHandler* const mh = IsModeKey(r.fields[i].key) ? ModeOfKey(MODETYPE_USER, r.fields[i].key) : NULL;
			if (!mh || mh->name == "oper" || mh->name == "snomask" || mh->name == "servprotect" || mh->NeedsParam(true) == r.fields[i].bare)
				continue;
			if (mh->NeedsOper() && !r.Get("oper").empty() && (!user->oper || !Allows(*user->oper, mh)))
				continue; // an operator elsewhere; none here, or one of less
			std::string param = r.fields[i].value;
			if (mh->name != "cloak") // that would cloak anew
				mh->OnModeChange(ServerInstance->FakeClient, user, NULL, param, true);
			if (!mh->NeedsParam(true))
				user->SetMode(mh, true);
		}
	}

	inline void AcceptList(LocalUser* user, const Line& r)
	{
		std::string ids, nick;
		irc::spacesepstream accept(r.Get("accept"));
		while (accept.GetToken(nick))
		{
			User* const other = ServerInstance->FindNickOnly(nick);
			if (other)
				ids.append(",").append(other->uuid);
		}
		const std::string notified = r.Get(OwnKey + "accept-notified");
		if (!ids.empty() || !notified.empty())
			FromText(user, "callerid_data", (notified.empty() ? "0" : notified) + ids);
	}

	/** Masks with their flags if they came from InspIRCd, else with the flag that means everything. */
	inline void SilenceList(LocalUser* user, const Line& r)
	{
		const std::string own = r.Get(KeyOfExtension("silence_list"));
		const size_t limit = ISupportNumber("SILENCE");
		std::string list, mask, flags("a");
		irc::spacesepstream masks(own.empty() ? r.Get("silence") : own);
		for (size_t n = 0; n < limit && masks.GetToken(mask) && (own.empty() || masks.GetToken(flags)); ++n)
			list.append(list.empty() ? "" : " ").append(mask).append(" ").append(flags);
		FromText(user, "silence_list", list);
	}

	inline void Invites(LocalUser* user, const Line& r)
	{
		std::string list, chan, until;
		irc::spacesepstream chans(r.Get("invites")), times(r.Get(OwnKey + "invites-until"));
		while (chans.GetToken(chan))
		{
			if (!times.GetToken(until))
				until = "0";
			list.insert(0, chan + " " + until + " "); // each is put in front
		}
		FromText(user, "invite_user", list);
	}

	/** Takes off the line of WHOIS that came from an operator's block (swhois). */
	inline void ForgetOperLine(LocalUser* user)
	{
		LocalIntExt* const byblock = static_cast<LocalIntExt*>(ServerInstance->Extensions.GetItem("swhois_operblock"));
		if (!byblock || !byblock->get(user))
			return;
		byblock->set(user, 0);
		if (ExtensionItem* const line = ServerInstance->Extensions.GetItem("swhois"))
			line->FromInternal(user, "");
	}

	/** What a user has: rights, modes, capabilities, lists. All users and channels are there. */
	inline void Belongings(const NewIDs& ids, LocalUser* user, const Line& r)
	{
		const reference<OperInfo> oper = r.Get("oper").empty() ? reference<OperInfo>() : OperNamed(r);
		if (oper)
		{
			user->oper = oper;
			user->SetMode(ServerInstance->Modes->FindMode("oper", MODETYPE_USER), true);
			ServerInstance->Users->all_opers.push_back(user);
		}
		const std::string snomask = oper ? AllowedSnomasks(*oper, r.Get("snomask")) : std::string();
		for (size_t i = 0; i < snomask.length(); ++i)
			user->snomasks[snomask[i] - 'A'] = true;
		if (user->snomasks.any())
			user->SetMode(ServerInstance->Modes->FindMode("snomask", MODETYPE_USER), true);
		UserModes(user, r);

		FromText(user, "accountname", r.Get("account"));
		irc::spacesepstream caps(r.Get("caps"));
		for (std::string name; caps.GetToken(name); )
			if (Cap::Capability* const cap = CapNamed(name))
				cap->set(user, true);
		if (r.Num("capver") >= 302)
			FromText(user, "caps", Own(user, "caps") + "2");
		FromText(user, "monitor", r.Get("monitor"));
		AcceptList(user, r);
		Invites(user, r);
		SetExtensions(user, r, ExtensionItem::EXT_USER, ids);
		if (Fallen(r))
			ForgetOperLine(user);
		SilenceList(user, r);
	}
}
