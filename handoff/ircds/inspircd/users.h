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
		const uint64_t gone = std::min<uint64_t>(seconds, UINT_MAX) * CommandRate(user);
		return gone < penalty ? penalty - gone : 0;
	}

	/** Whether the record's class came with being an operator, who is none here. Only InspIRCd 4 notes that. */
	inline bool LosesClass(const Line& r)
	{
		static const std::string key = KeyOfExtension("has_oper_class");
		return r.Has(key) && Fallen(r) && ItemNamed("has_oper_class");
	}

	/** The user by itself: no channel, no list. */
	inline LocalUser* BuildUser(World& world, NewIDs& ids, const Line& r, int fd)
	{
		const time_t now = ServerInstance->Time();
		const auto& limits = ServerInstance->Config->Limits;
		NewUser u;
		u.id = ids.Choose(r);
		u.nick = r.Get("nick");
		u.nts = r.Num("nts") ? r.Num("nts") : now;
		u.ident = r.Get("ident").empty() ? "user" : r.Get("ident").substr(0, IdentLimit() + 1);
		u.realident = r.Get(OwnKey + "realident").substr(0, IdentLimit() + 1);
		u.rhost = Host(r.Get("rhost").empty() ? r.Get("ip") : r.Get("rhost"));
		u.dhost = Host(r.Get("dhost"));
		if (u.dhost.empty())
			u.dhost = u.rhost;
		u.real = r.Get("real").substr(0, limits.MaxReal);
		u.away = r.Get("away").substr(0, limits.MaxAway);
		u.awayat = r.Num("awayat");
		u.signon = r.Num("signon");
		u.spoke = r.Has(OwnKey + "spoke") ? r.Num(OwnKey + "spoke") : now - r.Num("idle");
		u.uniqueusername = r.Has(OwnKey + "uniqueusername");
		ToAddress(r.Get("ip"), r.Num("port"), u.client);
		if (!ToAddress(r.Get(OwnKey + "laddr"), r.Num(OwnKey + "lport"), u.server))
			ToSockaddrs("0.0.0.0", 0, u.server);
		sscanf(r.Get(OwnKey + "counters").c_str(), "%lu %lu %lu %lu", &u.bytesin, &u.bytesout, &u.linesin, &u.linesout);
		LocalUser* const user = MakeUser(fd, u);

		UserManager& manager = ServerInstance->Users;
		manager.clientlist[user->nick] = user;
		manager.AddClone(user);
		const_cast<UserManager::LocalList&>(manager.GetLocalUsers()).push_front(user);

		Module* const rfc = ServerInstance->Modules.Find("core_serialize_rfc.so");
		if (rfc)
			rfc->OnUserInit(user);

		Stream stream;
		stream.u = r.Get("u");
		stream.tls = r.Get("tls");
		stream.certfp = r.Get("certfp");
		stream.Begin(user);
		world.streams.Tie(user, stream);

		ClassRef c = LosesClass(r) ? ClassRef() : ClassNamed(r.Get("class"));
		if (!c)
			c = ChooseClass(user);
		if (!c || Denies(*c))
			c = AnyClass();
		SetClass(user, c);
		user->nextping = now + PingTime(user);
		user->CommandFloodPenalty = Penalty(user, r);
		return user;
	}

	inline void FromText(LocalUser* user, const std::string& name, const std::string& value)
	{
		ExtensionItem* const ext = value.empty() ? nullptr : ItemNamed(name);
		if (ext)
			ext->FromInternal(user, value);
	}

	inline void UserModes(LocalUser* user, const Line& r)
	{
		for (size_t i = 0; i < r.fields.size(); ++i)
		{
			ModeHandler* const mh = IsModeKey(r.fields[i].key) ? ModeOfKey(MODETYPE_USER, r.fields[i].key) : nullptr;
			if (!mh || mh->name == "oper" || mh->name == "snomask" || mh->name == "servprotect" || mh->NeedsParam(true) == r.fields[i].bare)
				continue;
			if (mh->NeedsOper() && !r.Get("oper").empty() && (!user->oper || !MayUse(user->oper, mh)))
				continue; // an operator elsewhere; none here, or one of less
			std::string param = r.fields[i].value;
			if (mh->name != "cloak") // that would cloak anew
				ChangeMode(mh, user, nullptr, param, true);
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
			User* const other = UserNamed(nick);
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
		static const std::string key = KeyOfExtension("silence_list");
		const std::string own = r.Get(key);
		const size_t limit = own.empty() && r.Get("silence").empty() ? 0 : ISupportNumber("SILENCE");
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
		ExtensionItem* const byblock = ItemNamed("swhois_operblock");
		if (!byblock || ItemText(user, "swhois_operblock").empty())
			return;
		byblock->FromInternal(user, "0");
		if (ExtensionItem* const line = ItemNamed("swhois"))
			line->FromInternal(user, "");
	}

	/** What a user has: rights, modes, capabilities, lists. All users and channels are there. */
	inline void Belongings(const NewIDs& ids, LocalUser* user, const Line& r)
	{
		const OperRef oper = r.Get("oper").empty() ? OperRef() : OperOf(r);
		if (oper)
		{
			user->oper = oper;
			user->SetMode(ServerInstance->Modes.FindMode("oper", MODETYPE_USER), true);
			ServerInstance->Users.all_opers.push_back(user);
		}
		const std::string snomask = oper ? AllowedSnomasks(oper, r.Get("snomask")) : std::string();
		for (size_t i = 0; i < snomask.length(); ++i)
			user->snomasks[snomask[i] - 'A'] = true;
		if (user->snomasks.any())
			user->SetMode(ServerInstance->Modes.FindMode("snomask", MODETYPE_USER), true);
		UserModes(user, r);

		FromText(user, "accountname", r.Get("account"));
		irc::spacesepstream caps(r.Get("caps"));
		for (std::string name; caps.GetToken(name); )
			if (Cap::Capability* const cap = CapNamed(name))
				SetCap(cap, user);
		if (r.Num("capver") >= 302)
			{
			const std::string own = ItemText(user, "caps"); // each with a space behind it, then the version's last digit
			FromText(user, "caps", own.substr(0, own.length() - 1) + "2");
		}
		FromText(user, "monitor", r.Get("monitor"));
		AcceptList(user, r);
		Invites(user, r);
		SetExtensions(user, r, OfUser, ids);
		if (Fallen(r))
			ForgetOperLine(user);
		if (LosesClass(r))
			ItemNamed("has_oper_class")->FromInternal(user, "0");
		SilenceList(user, r);
	}
}
