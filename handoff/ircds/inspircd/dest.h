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
		const bool links;       // server links come too
		const std::string kick; // why members of younger channels have to go; empty: these are conflicts
		std::vector<Line> records;
		UserMap users;                            // by stream id, during Commit
		std::vector<std::string> nicks, channels; // reserved by this import
		NewIDs ids;
		std::set<Membership*> created;
		std::map<Membership*, const Line*> members;
		Absent absent;

	 public:
		std::vector<Note> warns, conflicts;

		Destination(World& w, bool Links, const std::string& Kick) : world(w), links(Links), kick(Kick) { }

		~Destination() { Unreserve(); }

		void Take(std::vector<Line>& recs) { records.swap(recs); }

		/** Looks for what cannot be kept and what cannot be, and reserves names. */
		void Prepare(Network& network)
		{
			Checker checker(world, links ? &network : nullptr, kick);
			absent.Learn(records);
			LeaveOut();
			for (size_t i = 0; i < records.size(); ++i)
				checker.Check(records[i]);
			checker.CheckAll();
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
					if (links && !CanHaveID(r.Get("id")))
						return Fault("conflict", "the id was taken", r.Get("u"));
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
		 * nobody waits for. Nobody sees it but by kicks and these quits, and by bans as they are now. Peers of links see what stands behind the marker. */
		void Commit(Network& network, const std::string& tx, std::map<std::string, int>& fds, const std::function<void()>& live)
		{
			Unreserve();
			ClearWay();
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
				for (size_t i = 0; i < records.size(); ++i)
					if (records[i].verb == "REMOTE")
						RestoreRemote(records[i], ids);
				Announce(network, tx, built, lost);
			}
			absent.Witness(records, members);
			absent.Tell();
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

		/** With links a record of a channel without members is for one that a replay has brought: without it nobody needs it. */
		void LeaveOut()
		{
			if (!links)
				return;
			std::set<std::string> peopled, out;
			for (const Line& r : records)
				if (r.verb == "MEMB")
					peopled.insert(r.Get("c"));
			for (const Line& r : records)
			{
				Channel* const live = r.verb == "CHAN" ? ChannelNamed(r.Get("n")) : nullptr;
				if (r.verb == "CHAN" && !peopled.count(r.Get("n")) && !(live && IsSame(live, r)))
					out.insert(r.Get("n"));
			}
			records.erase(std::remove_if(records.begin(), records.end(), [&](const Line& r) {
				return (r.verb == "CHAN" && out.count(r.Get("n"))) || (r.verb == "LIST" && out.count(r.Get("c")));
			}), records.end());
		}

		/** Who has not registered has to give up a nick or an id of the records. */
		void ClearWay()
		{
			for (size_t i = 0; i < records.size(); ++i)
			{
				if (records[i].verb != "USER")
					continue;
				User* const holder = links ? UserWithID(records[i].Get("id")) : nullptr;
				if (holder)
					ServerInstance->Users.QuitUser(holder, "Please connect again");
				User* const camper = UserNamed(records[i].Get("nick"));
				if (camper)
					static_cast<LocalUser*>(camper)->OverruleNick();
			}
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
			RecordLists lists;
			std::set<Channel*> replayed;
			for (size_t i = 0; i < records.size(); ++i)
			{
				const Line& r = records[i];
				if (r.verb == "CHAN")
				{
					Channel* chan = ChannelNamed(r.Get("n"));
					if (chan && links && IsReplayed(chan))
					{
						replayed.insert(chan);
						RestoreChannel(chan, r);
						SavePermanent(chan);
					}
					else if (chan && !chan->GetUsers().empty())
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
					std::string mask;
					if (replayed.count(chan))
					{
						lists.Add(chan, r);
						mask = r.Get("mask");
					}
					else if (!kept.count(chan))
						mask = AddEntry(chan, r);
					if (!mask.empty() && r.Get("m") == "ban" && r.Num(TimedBans::Key()))
						world.timed.Keep(chan, mask, r.Num(TimedBans::Key()));
				}
			}
			for (Channel* const chan : replayed)
				lists.Restore(chan);
		}

		typedef std::pair<uint64_t, const Line*> Placed;

		static bool LaterPlace(const Placed& a, const Placed& b) { return a.first > b.first; }

		void BuildMembers()
		{
			const std::string place = OwnKey + "place", prefixes = OwnKey + "prefixes";
			std::vector<Placed> placed;
			std::set<std::string> fallen;
			for (size_t i = 0; i < records.size(); ++i)
				if (records[i].verb == "USER" && Fallen(records[i]))
					fallen.insert(records[i].Get("u"));
				else if (records[i].verb == "MEMB")
					placed.push_back(Placed(records[i].Num(place), &records[i]));
			std::stable_sort(placed.begin(), placed.end(), LaterPlace); // a user's channels are put in front of those before
			for (size_t i = 0; i < placed.size(); ++i)
			{
				const Line& r = *placed[i].second;
				User* const user = users[r.Get("u")];
				Channel* const chan = ChannelNamed(r.Get("c"));
				const bool first = chan->GetUsers().empty();
				Membership* const memb = chan->AddUser(user);
				if (!memb)
					continue;
				memb->id = 0;
				members[memb] = &r;
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

		/** Users of this process whom the peers of links do not know: they registered before the links were back. Those who stayed here are known. */
		std::vector<LocalUser*> Strangers(const std::vector<LocalUser*>& built) const
		{
			std::set<std::string> known;
			for (const LocalUser* const user : built)
				known.insert(user->uuid);
			for (const Line& r : records)
			{
				irc::spacesepstream stay(r.verb == "LINK" && r.Get(OwnKey + "epoch") == world.epoch ? r.Get("stay") : "");
				for (std::string id; stay.GetToken(id); )
					known.insert(id);
			}
			std::vector<LocalUser*> strangers;
			for (LocalUser* const user : ServerInstance->Users.GetLocalUsers())
				if (IsRegistered(user) && !user->quitting && !known.count(user->uuid))
					strangers.push_back(user);
			return strangers;
		}

		/** Whether a server is linked directly that is none of the records. It knows all users of this process. */
		bool HasOtherLinks(Network& network) const
		{
			for (const ServerFacts& s : network.Servers())
				if (s.Direct() && std::none_of(records.begin(), records.end(), [&](const Line& r) { return r.verb == "LINK" && r.Get("n") == s.name; }))
					return true;
			return false;
		}

		/** Words for the bans that all peers know. False: the process that they were linked to did not tell them. */
		bool KnownBans(std::set<std::string>& bans) const
		{
			bool told = false;
			for (const Line& r : records)
			{
				if (r.verb != "LINK" || !r.Has(BansKey()))
					continue;
				told = true;
				irc::spacesepstream words(r.Get(BansKey()));
				for (std::string word; words.GetToken(word); )
					bans.insert(word);
			}
			return told;
		}

		/** Tells the network. With links these users are no news to the peers, who drop what stands before the marker. lost: who will quit. */
		void Announce(Network& network, const std::string& tx, const std::vector<LocalUser*>& built, std::vector<LocalUser*>& lost)
		{
			std::vector<LocalUser*> strangers = links ? Strangers(built) : std::vector<LocalUser*>();
			Announcer announcer(members, created);
			for (LocalUser* const user : built)
				announcer.User(user);
			if (!links)
				return;
			if (HasOtherLinks(network)) // some servers know them and others do not: nothing can be said that is right for both
			{
				lost.insert(lost.end(), strangers.begin(), strangers.end());
				strangers.clear();
			}
			std::vector<std::pair<LocalUser*, const Line*>> told;
			for (const Line& r : records)
				if (r.verb == "USER")
					told.push_back(std::make_pair(static_cast<LocalUser*>(users[r.Get("u")]), &r));
			std::set<std::string> bans;
			announcer.Differences(tx, told, strangers, KnownBans(bans) ? &bans : nullptr);
		}
	};
}
