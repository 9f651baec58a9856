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


// The destination (HANDOFF.md, section 7): records to users. What records ask is looked at in Prepare; Commit builds all in one turn.

#pragma once

namespace Handoff
{
	/** An import's records, as they were checked one by one, and what becomes of them. */
	class Destination
	{
		typedef std::map<std::string, User*> UserMap;

		World& world;
		const std::string kick; // why members of younger channels have to go; empty: these are conflicts
		std::vector<Line> records;
		UserMap users;                            // by stream id, during Commit
		std::vector<std::string> nicks, channels; // reserved by this import
		NewIDs ids;
		std::set<Membership*> created;

	 public:
		std::vector<Note> warns, conflicts;

		Destination(World& w, const std::string& Kick) : world(w), kick(Kick) { }

		~Destination() { Unreserve(); }

		void Take(std::vector<Line>& recs) { records.swap(recs); }

		/** Looks for what cannot be kept and what cannot be, and reserves names. */
		void Prepare()
		{
			Checker checker(world, kick);
			for (size_t i = 0; i < records.size(); ++i)
				checker.Check(records[i]);
			checker.CheckLimit();
			warns.swap(checker.warns);
			conflicts.swap(checker.conflicts);
			nicks.swap(checker.nicks);
			channels.swap(checker.channels);
			world.nicks.insert(nicks.begin(), nicks.end());
			world.channels.insert(channels.begin(), channels.end());
		}

		/** What has come between since Prepare. Nothing is changed if this is a fault. */
		Fault Late() const
		{
			for (size_t i = 0; i < records.size(); ++i)
			{
				const Line& r = records[i];
				if (r.verb == "USER")
				{
					User* const other = UserNamed(r.Get("nick"));
					if (other && IsRegistered(other))
						return Fault("conflict", "the nick was taken", r.Get("u"));
					if (!ClassNamed(r.Get("class")) && !AnyClass())
						return Fault("conflict", "no connection class any more", r.Get("u"));
				}
				else if (r.verb == "CHAN")
				{
					Channel* const live = ChannelNamed(r.Get("n"));
					if (live && !IsSame(live, r) && !GivesWay(live, r, kick))
						return Fault("conflict", "a channel of the name was made");
				}
			}
			return Fault();
		}

		/** Makes all users live. fds: by stream id; each has got its LIVE line, or is -1: who has none quits. live: called when all are, before what
		 * nobody waits for. Nobody sees it but by kicks and these quits, and by bans as they are now. */
		void Commit(std::map<std::string, int>& fds, const std::function<void()>& live)
		{
			Unreserve();
			for (size_t i = 0; i < records.size(); ++i) // who holds a nick without having registered has to choose another one
			{
				User* const camper = records[i].verb == "USER" ? UserNamed(records[i].Get("nick")) : nullptr;
				if (camper)
					static_cast<LocalUser*>(camper)->OverruleNick();
			}
			EndYounger();
			std::vector<LocalUser*> built, lost;
			{
				Silence silence(world);
				std::set<Channel*> kept; // live ones, which keep what they have
				BuildChannels(kept);
				for (size_t i = 0; i < records.size(); ++i)
				{
					if (records[i].verb != "USER")
						continue;
					LocalUser* const user = BuildUser(world, ids, records[i], fds[records[i].Get("u")]);
					users[records[i].Get("u")] = user;
					built.push_back(user);
					if (!user->eh.HasFd() || !SocketEngine::AddFd(&user->eh, FD_WANT_FAST_READ | FD_WANT_EDGE_WRITE))
						lost.push_back(user);
				}
				for (size_t i = 0; i < records.size(); ++i)
					if (records[i].verb == "CHAN" && !kept.count(ChannelNamed(records[i].Get("n"))))
						SetExtensions(ChannelNamed(records[i].Get("n")), records[i], OfChannel, ids);
				BuildMembers();
				for (size_t i = 0; i < records.size(); ++i)
					if (records[i].verb == "USER")
						Belongings(ids, static_cast<LocalUser*>(users[records[i].Get("u")]), records[i]);
				live();
				for (LocalUser* const user : built)
					Announce(user);
			}
			for (size_t i = 0; i < lost.size(); ++i)
				ServerInstance->Users.QuitUser(lost[i], "Connection closed");
			for (LocalUser* const user : built)
			{
				if (user->quitting)
					continue;
				user->exempt = (ServerInstance->XLines->MatchesLine("E", user) != nullptr);
				user->CheckLines(true);
			}
			DropEmpty();
		}

	 private:
		void Unreserve()
		{
			for (size_t i = 0; i < nicks.size(); ++i)
				world.nicks.erase(nicks[i]);
			for (size_t i = 0; i < channels.size(); ++i)
				world.channels.erase(channels[i]);
			nicks.clear();
			channels.clear();
		}

		/** Those who made channels anew have to leave them. None of the import's users is there yet. */
		void EndYounger()
		{
			for (size_t i = 0; i < records.size(); ++i)
			{
				Channel* const chan = records[i].verb == "CHAN" ? ChannelNamed(records[i].Get("n")) : nullptr;
				if (chan && GivesWay(chan, records[i], kick))
					EndChannel(chan, kick);
			}
		}

		/** Ends channels that nobody is on, but those that +P keeps. */
		void DropEmpty()
		{
			for (size_t i = 0; i < records.size(); ++i)
			{
				Channel* const chan = records[i].verb == "CHAN" ? ChannelNamed(records[i].Get("n")) : nullptr;
				if (chan)
					chan->CheckDestroy();
			}
		}

		void BuildChannels(std::set<Channel*>& kept)
		{
			for (size_t i = 0; i < records.size(); ++i)
			{
				const Line& r = records[i];
				if (r.verb == "CHAN")
				{
					Channel* chan = ChannelNamed(r.Get("n"));
					if (chan && !chan->GetUsers().empty())
						kept.insert(chan);
					else
					{
						if (!chan)
							chan = new Channel(r.Get("n"), r.Num("ts") ? r.Num("ts") : ServerInstance->Time());
						FillChannel(chan, r);
						SavePermanent(chan);
					}
				}
				else if (r.verb == "LIST")
				{
					Channel* const chan = ChannelNamed(r.Get("c"));
					const std::string mask = kept.count(chan) ? std::string() : AddEntry(chan, r);
					if (!mask.empty() && r.Get("m") == "ban" && r.Num(TimedBans::Key()))
						world.timed.Keep(chan, mask, r.Num(TimedBans::Key()));
				}
			}
		}

		typedef std::pair<uint64_t, const Line*> Placed;

		static bool LaterPlace(const Placed& a, const Placed& b) { return a.first > b.first; }

		void BuildMembers()
		{
			const std::string place = OwnKey + "place", prefixes = OwnKey + "prefixes";
			std::vector<Placed> members;
			std::set<std::string> fallen;
			for (size_t i = 0; i < records.size(); ++i)
				if (records[i].verb == "USER" && Fallen(records[i]))
					fallen.insert(records[i].Get("u"));
				else if (records[i].verb == "MEMB")
					members.push_back(Placed(records[i].Num(place), &records[i]));
			std::stable_sort(members.begin(), members.end(), LaterPlace); // a user's channels are put in front of those before
			for (size_t i = 0; i < members.size(); ++i)
			{
				const Line& r = *members[i].second;
				User* const user = users[r.Get("u")];
				Channel* const chan = ChannelNamed(r.Get("c"));
				const bool first = chan->GetUsers().empty();
				Membership* const memb = chan->AddUser(user);
				if (!memb)
					continue;
				memb->id = 0;
				user->chans.push_front(memb);
				if (first)
					created.insert(memb);
				for (size_t p = 0; p < r.Get("m").length(); ++p)
					if (PrefixMode* const pm = StandardPrefix(r.Get("m")[p]))
						memb->SetPrefix(pm, true);
				irc::spacesepstream own(r.Get(prefixes));
				for (std::string name; own.GetToken(name); )
				{
					PrefixMode* const pm = NamedPrefix(name);
					if (pm && !(IsOfOperators(pm) && fallen.count(r.Get("u"))))
						memb->SetPrefix(pm, true);
				}
				SetExtensions(memb, r, OfMember, ids);
			}
		}

		/** Tells those parts of the ircd that count or pass on, and no other. */
		void Announce(LocalUser* user)
		{
			Module* const lusers = ServerInstance->Modules.Find("core_lusers.so");
			if (lusers)
				lusers->OnPostConnect(user);
			Module* const tree = ServerInstance->Modules.Find("m_spanningtree.so");
			if (!tree)
				return;
			tree->OnUserConnect(user);
			CUList nobody;
			for (User::ChanList::iterator i = user->chans.begin(); i != user->chans.end(); ++i)
				tree->OnUserJoin(*i, false, created.count(*i), nobody);
		}
	};
}
