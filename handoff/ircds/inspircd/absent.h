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


// Members of exported channels who do not come with the users: those of other servers, and those who stay. Where they are not there at COMMIT, the
// users who come back are told that they have quit, as by a netsplit: nobody else would ever tell them.

#pragma once

namespace Handoff
{
	/** The key of a channel's record: ids, and behind each that stands there for the first time the mask, and the link that the user is behind. */
	inline const std::string& AbsentKey()
	{
		static const std::string key = OwnKey + "others";
		return key;
	}

	/** Of one export. */
	class Others
	{
		const std::set<User*>& exported;
		std::unordered_map<const Server*, std::string> links;
		ExtensionItem* const delayed; // or nullptr
		std::unordered_set<User*> told;

	 public:
		Others(const std::vector<ServerFacts>& servers, const std::set<User*>& Exported)
			: exported(Exported), delayed(ItemNamed("delayjoin"))
		{
			for (const ServerFacts& s : servers)
				if (s.server)
					links[s.server] = s.link;
		}

		/** The value of the key, which may be empty. Whom +D hides nobody has seen. */
		std::string Of(Channel* chan)
		{
			std::string text;
			for (const auto& [user, memb] : chan->GetUsers())
			{
				if (exported.count(user) || user->quitting || (delayed && memb->GetExtList().count(delayed)))
					continue;
				text.append(text.empty() ? "" : " ").append(user->uuid);
				if (!told.insert(user).second)
					continue;
				const auto link = links.find(user->server);
				text.append(" ").append(user->nick + "!" + Ident(user) + "@" + user->GetDisplayedHost()).append(" ").append(link == links.end() ? "*" : link->second);
			}
			return text;
		}
	};

	/** Of one COMMIT: who has to be told of whom. */
	class Absent
	{
		struct Gone
		{
			std::string mask, link;
			std::set<LocalUser*> witnesses;
		};

		std::map<std::string, Gone> gone; // by id

		static bool IsHere(const std::string& id, const std::string& mask)
		{
			User* const user = UserWithID(id);
			return user && user->nick == mask.substr(0, mask.find('!'));
		}

		/** Takes the names of a channel's record, in the order of the export, and calls each with them. */
		template <typename Each>
		void Read(const Line& r, const Each& each)
		{
			irc::spacesepstream words(r.Get(AbsentKey()));
			Gone* last = nullptr;
			for (std::string word; words.GetToken(word); )
			{
				if (word.find('!') == std::string::npos && (IsID(word) || !last))
					each(*(last = &gone[word]));
				else if (last)
					(last->mask.empty() ? last->mask : last->link) = word;
			}
		}

	 public:
		/** Learns masks. Of all channels, before those that nobody is on are left out. */
		void Learn(const std::vector<Line>& records)
		{
			for (const Line& r : records)
				if (r.verb == "CHAN")
					Read(r, [](Gone&) { });
		}

		/** Notes who is on the channels of the records. */
		void Witness(const std::vector<Line>& records, const std::map<Membership*, const Line*>& members)
		{
			std::map<std::string, std::vector<LocalUser*>> on;
			for (const auto& entry : members)
				on[entry.first->chan->name].push_back(static_cast<LocalUser*>(entry.first->user));
			for (const Line& r : records)
				if (r.verb == "CHAN" && on.count(r.Get("n")))
					Read(r, [&](Gone& who) { who.witnesses.insert(on[r.Get("n")].begin(), on[r.Get("n")].end()); });
		}

		/** Tells all. */
		void Tell() const
		{
			const bool hide = HidesSplits();
			for (const auto& [id, who] : gone)
			{
				if (who.mask.empty() || IsHere(id, who.mask))
					continue;
				const std::string reason = who.link == "*" ? "Connection closed" : hide ? "*.net *.split" : OwnName() + " " + who.link;
				ClientProtocol::Message quit("QUIT", who.mask);
				quit.PushParam(reason);
				for (LocalUser* const user : who.witnesses)
					if (!user->quitting)
						user->Send(ServerInstance->GetRFCEvents().quit, quit);
			}
		}
	};
}
