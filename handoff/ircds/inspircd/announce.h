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


// What a COMMIT says: to those parts of the ircd that count or pass on, and to no other; and behind the marker to peers of links that
// have these users already.

#pragma once

namespace Handoff
{
	/** Of one COMMIT. */
	class Announcer
	{
	 public:
		typedef std::map<Membership*, const Line*> Members;

	 private:
		const Members& members;
		const std::set<Membership*>& created; // on channels that were empty before
		Module* const lusers;
		Module* const tree; // or nullptr
		MemberIDs ids;

		/** What peers of links call a membership, if a record tells. */
		bool KnownID(Membership* memb, Membership::Id& id) const
		{
			static const std::string key = OwnKey + "membid";
			const auto m = members.find(memb);
			if (m == members.end() || !m->second->Has(key))
				return false;
			id = m->second->Num(key);
			return true;
		}

	 public:
		Announcer(const Members& Of, const std::set<Membership*>& Created)
			: members(Of), created(Created), lusers(ServerInstance->Modules.Find("core_lusers.so"))
			, tree(ServerInstance->Modules.Find("m_spanningtree.so")), ids(tree) { }

		void User(LocalUser* user)
		{
			if (lusers)
				lusers->OnPostConnect(user);
			if (!tree)
				return;
			tree->OnUserConnect(user);
			for (Membership* const memb : user->chans)
			{
				Membership::Id id;
				ids.Announce(memb, created.count(memb), KnownID(memb, id) ? &id : nullptr);
			}
		}

		/** Says the marker, and what is not as the peers know it. users: with their records. strangers: who came before them. bans: that the peers know, or
		 * nullptr if nobody has told. */
		void Differences(const std::string& tx, const std::vector<std::pair<LocalUser*, const Line*>>& users, const std::vector<LocalUser*>& strangers,
			const std::set<std::string>* bans)
		{
			if (!tree)
				return;
			SayToNetwork("ircferry", tx);
			for (LocalUser* const user : strangers)
				TellNewcomer(tree, user);
			for (const auto& [user, record] : users)
				TellUser(tree, user, *record);
			for (const auto& [memb, record] : members)
				TellMember(tree, memb, *record);
			if (bans)
				TellBans(tree, *bans);
		}
	};
}
