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
	/** The user by itself: no channel, no list. */
	inline LocalUser* BuildUser(World& world, NewIDs& ids, const Line& r, int fd)
	{
		unsigned long counters[4] = { 0, 0, 0, 0 };
		sscanf(r.Get(OwnKey + "counters").c_str(), "%lu %lu %lu %lu", &counters[0], &counters[1], &counters[2], &counters[3]);
		const time_t now = ServerInstance->Time();
		const std::string rhost = r.Get("rhost").empty() ? r.Get("ip") : r.Get("rhost");
		const bool local = !r.Get(OwnKey + "laddr").empty();

		// The core's own constructor for serialised users; extensions come later, because they name other users and channels.
		Serializable::Data data;
		Serializable::Data::EntryMap& entry = data.GetEntries(); // Store would write each into the debug log
		entry["age"] = ConvToStr(r.Num("nts") ? r.Num("nts") : now);
		entry["awaymsg"] = r.Get("away");
		entry["awaytime"] = ConvToStr(r.Num("awayat"));
		entry["client_sa.addr"] = r.Get("ip");
		entry["client_sa.port"] = ConvToStr(r.Num("port"));
		entry["displayhost"] = r.Get("dhost") == rhost ? "" : r.Get("dhost");
		entry["ident"] = r.Get("ident");
		entry["modes"] = "";
		entry["nick"] = r.Get("nick");
		entry["oper"] = "";
		entry["realhost"] = rhost;
		entry["realname"] = r.Get("real");
		entry["signon"] = ConvToStr(r.Num("signon"));
		entry["snomasks"] = "";
		entry["uniqueusername"] = ConvToStr(r.Has(OwnKey + "uniqueusername"));
		entry["bytes_in"] = ConvToStr(counters[0]);
		entry["bytes_out"] = ConvToStr(counters[1]);
		entry["cmds_in"] = ConvToStr(counters[2]);
		entry["cmds_out"] = ConvToStr(counters[3]);
		entry["CommandFloodPenalty"] = ConvToStr(r.Num(OwnKey + "penalty"));
		entry["exempt"] = ConvToStr(0);
		entry["idle_lastmsg"] = ConvToStr(r.Has(OwnKey + "spoke") ? r.Num(OwnKey + "spoke") : now - r.Num("idle"));
		entry["lastping"] = ConvToStr(1);
		entry["nextping"] = ConvToStr(0);
		entry["password"] = "";
		entry["server_sa.addr"] = local ? r.Get(OwnKey + "laddr") : "0.0.0.0";
		entry["server_sa.port"] = ConvToStr(r.Num(OwnKey + "lport"));

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

		user->MyClass = ClassNamed(r.Get("class"));
		if (!user->MyClass)
			user->SetClass();
		if (!user->MyClass || user->MyClass->type == CC_DENY)
			user->MyClass = AnyClass();
		user->nextping = now + user->MyClass->GetPingTime();

		Stream stream;
		stream.u = r.Get("u");
		stream.tls = r.Get("tls");
		stream.certfp = r.Get("certfp");
		stream.Begin(user);
		world.streams.Tie(user, stream);
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
			if (mh->NeedsOper() && !r.Get("oper").empty() && !user->IsOper())
				continue; // an operator elsewhere, none here
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

	/** What a user has: rights, modes, capabilities, lists. All users and channels are there. */
	inline void Belongings(const NewIDs& ids, LocalUser* user, const Line& r)
	{
		const reference<OperInfo> oper = r.Get("oper").empty() ? reference<OperInfo>() : OperNamed(r);
		if (oper)
		{
			user->oper = oper;
			user->SetMode(ServerInstance->Modes->FindMode("oper", MODETYPE_USER), true);
			ServerInstance->Users->all_opers.push_back(user);
			user->oper->init();
		}
		const std::string& snomask = r.Get("snomask");
		for (size_t i = 0; i < snomask.length(); ++i)
			if (isalpha(static_cast<unsigned char>(snomask[i])) && (oper || r.Get("oper").empty()))
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
		if (!r.Has(KeyOfExtension("silence_list")))
		{
			std::string list, mask;
			irc::spacesepstream masks(r.Get("silence"));
			while (masks.GetToken(mask))
				list.append(list.empty() ? "" : " ").append(mask).append(" a");
			FromText(user, "silence_list", list);
		}
		SetExtensions(user, r, ExtensionItem::EXT_USER, &ids);
	}
}
