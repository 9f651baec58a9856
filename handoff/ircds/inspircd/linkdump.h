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


// What an export tells of server links: LINK, BURST and REMOTE records (HANDOFF.md, section 14).

#pragma once

namespace Handoff
{
	/** The records of all selected links. The world stands still. */
	class LinkDump
	{
		const std::vector<HeldLink>& links;
		const std::string& epoch;
		const std::vector<ServerFacts> servers;
		const Behind behind;
		ModeHandler* const delayed; // or nullptr

		static std::vector<ServerFacts> AllServers(Network& network, bool all)
		{
			std::vector<ServerFacts> servers = network.Servers();
			if (all)
				network.FindHidden(servers);
			return servers;
		}

		static std::vector<std::string> Names(const std::vector<HeldLink>& links)
		{
			std::vector<std::string> names;
			for (const HeldLink& l : links)
				names.push_back(l.name);
			return names;
		}

	 public:
		LinkDump(Network& network, const std::vector<HeldLink>& Links, const std::string& Epoch)
			: links(Links), epoch(Epoch), servers(AllServers(network, !Links.empty())), behind(servers, Names(links))
			, delayed(ServerInstance->Modes.FindMode("delayjoin", MODETYPE_CHANNEL)) { }

		/** Why the links cannot be told, if so. */
		Fault Check() const
		{
			for (const HeldLink& l : links)
				if (!Network::Direct(servers, l.name, l.sid))
					return Fault("not-linked", "no server " + l.name + " with id " + l.sid + " is linked directly");
			for (const ServerFacts& s : servers)
				for (const HeldLink& l : links)
					if (s.link == l.name && !s.Direct() && !s.server)
						return Fault("internal", "the id of server " + s.name + " is not known: it linked before m_handoff was loaded, and has no user");
			return Fault();
		}

		/** The directly linked servers that are not selected. */
		std::string Unheld() const
		{
			std::string names;
			for (const ServerFacts& s : servers)
				if (s.Direct() && std::none_of(links.begin(), links.end(), [&](const HeldLink& l) { return l.name == s.name; }))
					names.append(names.empty() ? "" : " ").append(s.name);
			return names;
		}

		bool Any() const { return !links.empty(); }

		const std::vector<ServerFacts>& Servers() const { return servers; }

		/** Whether a channel has members behind a selected link, or is kept without members. */
		bool Has(Channel* chan) const
		{
			if (links.empty())
				return false;
			for (const auto& entry : chan->GetUsers())
				if (behind.Of(entry.first) != Behind::None)
					return true;
			return chan->GetUsers().empty();
		}

		/** Appends all records. exported: whose ids are not told as those who stay. written: called now and then. */
		void Records(const std::set<User*>& exported, std::string& out, Tally& tally, const std::function<void()>& written) const
		{
			if (links.empty())
				return;
			std::vector<std::vector<User*>> users(links.size());
			for (const auto& entry : ServerInstance->Users.GetUsers())
				if (IsRegistered(entry.second) && behind.Of(entry.second) != Behind::None)
					users[behind.Of(entry.second)].push_back(entry.second);
			const std::string stay = Stay(exported), bans = NetworkBans();
			for (size_t i = 0; i < links.size(); ++i)
			{
				AppendRecord(out, LinkRecord(links[i], users[i], stay, bans), tally);
				BurstWriter burst(links[i], out, tally);
				burst.Servers(servers);
				for (User* const user : users[i])
				{
					burst.OneUser(user);
					Remote(links[i], user, user, "", out, tally);
					written();
				}
				Orders orders;
				for (const auto& entry : AllChannels())
				{
					Members(i, entry.second, burst, orders, out, tally);
					written();
				}
				for (User* const user : users[i])
					Order(links[i], user, orders[user], out, tally);
				burst.Everywhere();
			}
		}

	 private:
		typedef std::unordered_map<User*, std::vector<Channel*>> Orders; // channels of users, in the order in which they are replayed

		Line LinkRecord(const HeldLink& link, const std::vector<User*>& users, const std::string& stay, const std::string& bans) const
		{
			Line r("LINK");
			r.Add("n", link.name).Add("sid", link.sid).Add("proto", link.proto).Add("users", users.size());
			r.Add("last", LastGivenID()).Set("stay", stay);
			r.Add(OwnKey + "saved", Saved(users)).Add(OwnKey + "epoch", epoch); // of the process in which those live who stay
			return r.Add(BansKey(), bans);
		}

		static std::string Stay(const std::set<User*>& exported)
		{
			std::string ids;
			for (LocalUser* const user : ServerInstance->Users.GetLocalUsers())
				if (IsRegistered(user) && !user->quitting && !exported.count(user))
					ids.append(ids.empty() ? "" : " ").append(user->uuid);
			return ids;
		}

		/** A channel, if there is something of it behind the link. Those without members go with the first one. */
		void Members(size_t at, Channel* chan, BurstWriter& burst, Orders& orders, std::string& out, Tally& tally) const
		{
			std::vector<Membership*> members;
			for (const auto& [user, memb] : chan->GetUsers())
				if (behind.Of(user) == at)
					members.push_back(memb);
			if (members.empty() && (at || !chan->GetUsers().empty()))
				return;
			burst.OneChannel(chan, members);
			const bool always = delayed && chan->IsModeSet(delayed); // a replay marks them all as not seen yet
			for (Membership* const memb : members)
			{
				orders[memb->user].push_back(chan);
				Remote(links[at], memb, memb->user, chan->name, out, tally, always);
			}
		}

		/** Appends the order of a user's channels, if a replay brings another one: each is put in front of those before. */
		static void Order(const HeldLink& link, User* user, const std::vector<Channel*>& replayed, std::string& out, Tally& tally)
		{
			std::string names;
			size_t at = replayed.size();
			bool same = true;
			for (Membership* const memb : user->chans)
			{
				same = same && at && replayed[--at] == memb->chan;
				names.append(names.empty() ? "" : " ").append(memb->chan->name);
			}
			if (!same)
				AppendRecord(out, Line("REMOTE").Add("l", link.name).Add("id", user->uuid).Add(OwnKey + "chans", names), tally);
		}

		/** Appends what no line of the burst carries: items that have a text of their own, but none for the network. always: also if there are none. */
		static void Remote(const HeldLink& link, const Extensible* of, const User* user, const std::string& chan, std::string& out, Tally& tally, bool always = false)
		{
			Line r("REMOTE");
			r.Add("l", link.name).Add("id", user->uuid).Set("c", chan);
			const size_t keys = r.fields.size();
			for (const auto& [item, value] : of->GetExtList())
			{
				if (HasNoKey(item->name) || !item->ToNetwork(of, value).empty())
					continue;
				const std::string text = item->ToInternal(of, value);
				if (!text.empty() && IsOneLine(text))
					r.Add(KeyOfExtension(item->name), text);
			}
			if (always || r.fields.size() > keys)
				AppendRecord(out, r, tally);
		}
	};
}
