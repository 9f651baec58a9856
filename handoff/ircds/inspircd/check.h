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


// What PREPARE says of an import's records (HANDOFF.md, section 7): what cannot be kept, and what cannot be.

#pragma once

namespace Handoff
{
	/** What PREPARE says of the records. */
	class Checker
	{
		World& world;
		Network* const network; // nullptr: the import has no links
		const std::string& kick;
		const size_t silence; // the longest list: m_silence takes a longer one not at all
		size_t newusers;
		std::set<std::string> linknames;
		Rehearsal rehearsal;
		std::set<std::string, irc::insensitive_swo> nicknames, channames; // of this import, as casemapping has them
		std::map<std::string, size_t> merged; // channels that live here, and their places in warns
		std::set<std::string> ids, fallen; // of users; stream ids of operators who are none here

	 public:
		std::vector<Note> warns, conflicts;
		std::vector<std::string> nicks, channels; // free, and for this import

		Checker(World& w, Network* Links, const std::string& Kick) : world(w), network(Links), kick(Kick), silence(ISupportNumber("SILENCE")), newusers(0) { }

		void Check(const Line& r)
		{
			if (r.verb == "CHAN")
				CheckChannel(r);
			else if (r.verb == "LIST")
				CheckList(r);
			else if (r.verb == "USER")
			{
				CheckUser(r);
				newusers++;
			}
			else if (r.verb == "MEMB")
				CheckMember(r);
			else if (r.verb == "LINK")
				CheckLink(r);
		}

		/** After all records. */
		void CheckAll()
		{
			if (network)
				for (const ServerFacts& s : network->Servers())
					if (s.Direct() && !linknames.count(s.name))
						conflicts.push_back(Note("", "", "link", "", "it is linked, and none of the records is of it", s.name));
			CheckLimit();
		}

	 private:
		void CheckLimit()
		{
			if (ServerInstance->Users.GetLocalUsers().size() + newusers > ServerInstance->Config->SoftLimit)
				conflicts.push_back(Note("", "", "limit", "", "<performance:softlimit> is " + ConvToStr(ServerInstance->Config->SoftLimit)));
		}

		void Warn(const Line& r, const std::string& code, const std::string& key, const std::string& text)
		{
			warns.push_back(Note(r.Get("u"), ChannelOf(r), code, key, text));
		}

		void Conflict(const Line& r, const std::string& code, const std::string& key, const std::string& text)
		{
			conflicts.push_back(Note(r.Get("u"), ChannelOf(r), code, key, text));
		}

		static const std::string& ChannelOf(const Line& r) { return r.Get(r.verb == "CHAN" ? "n" : "c"); }

		/** Warns of keys that are not kept. known: a list that ends with nullptr. */
		void CheckKeys(const Line& r, const char* const* known, ItemType type)
		{
			for (size_t i = 0; i < r.fields.size(); ++i)
			{
				const std::string& key = r.fields[i].key;
				const char* const* k = known;
				while (*k && key != *k)
					k++;
				if (*k || (r.fields[i].value.empty() && !r.fields[i].bare))
					continue;
				if (IsModeKey(key) && r.verb != "MEMB")
				{
					CheckMode(r, r.fields[i]);
					continue;
				}
				if (!ItemOfKey(key, type))
					Warn(r, "unknown-key", key, "not kept");
			}
		}

		void CheckMode(const Line& r, const Field& f)
		{
			ModeHandler* const mh = ModeOfKey(r.verb == "USER" ? MODETYPE_USER : MODETYPE_CHANNEL, f.key);
			if (!mh || mh->IsPrefixMode() || mh->IsListModeBase() || mh->name == "oper" || mh->name == "snomask" || mh->name == "servprotect")
				Warn(r, "unknown-mode", f.key, "no such mode here");
			else if (mh->NeedsParam(true) == f.bare)
				Warn(r, "bad-value", f.key, f.bare ? "the mode has a parameter here" : "the mode has no parameter here");
			else if (r.verb == "CHAN" && !f.bare)
			{
				const std::string param = rehearsal.Parameter(r.Get("n"), mh, f.value);
				if (param.empty())
					Warn(r, "bad-value", f.key, "the mode does not take this parameter here");
				else if (param != f.value)
					Warn(r, "changed", f.key, "the parameter is another one here");
			}
		}

		/** Warns of a value that has to be cut. */
		void CheckLength(const Line& r, const std::string& key, size_t limit)
		{
			if (r.Get(key).length() > limit)
				Warn(r, "bad-value", key, "cut to " + ConvToStr(limit) + " bytes");
		}

		void CheckChannel(const Line& r)
		{
			static const char* const known[] = { "n", "ts", "topic", "tby", "tat", AbsentKey().c_str(), nullptr };
			const std::string& name = r.Get("n");
			Channel* const live = ChannelNamed(name);
			if (!IsChannel(name))
				Conflict(r, "channel-invalid", "n", "not a channel name here");
			else if (world.channels.count(name) || !channames.insert(name).second)
				Conflict(r, "channel-exists", "n", "the name is reserved");
			else if (!live)
				channels.push_back(name);
			else if (GivesWay(live, r, kick))
			{
				channels.push_back(name); // so that nobody makes it anew if it ends before COMMIT
				Warn(r, "replaced", "n", "a younger channel has the name; its members are kicked");
			}
			else if (!IsSame(live, r))
				Conflict(r, "channel-exists", "n", "another channel has the name");
			else if (!live->GetUsers().empty() && !(network && IsReplayed(live))) // an empty one, kept by +P, is what the record tells of
				CheckMerged(r, live);
			CheckLength(r, "topic", ServerInstance->Config->Limits.MaxTopic);
			CheckKeys(r, known, OfChannel);
		}

		void CheckLink(const Line& r)
		{
			linknames.insert(r.Get("n"));
			const std::string why = LinkFault(*network, r);
			if (!why.empty())
				conflicts.push_back(Note("", "", "link", "", why, r.Get("n")));
			PassID(r.Get("last"));
		}

		void CheckMerged(const Line& r, Channel* live)
		{
			merged[r.Get("n")] = warns.size();
			Warn(r, "merged", "n", "the channel lives here; its topic, modes and lists stay");
			if (!r.Get("topic").empty() && r.Get("topic") != live->topic)
				Lost(r, "topic");
			for (const Field& f : r.fields)
				if (IsModeKey(f.key) && !IsSet(ModeOfKey(MODETYPE_CHANNEL, f.key), live, f))
					Lost(r, f.key);
		}

		void Lost(const Line& r, const std::string& what) { NameLost(warns[merged[ChannelOf(r)]].text, what); }

		void CheckList(const Line& r)
		{
			static const char* const known[] = { "c", "m", "mask", "by", "at", TimedBans::Key().c_str(), nullptr };
			ModeHandler* const mh = ModeOfKey(MODETYPE_CHANNEL, r.Get("m"), true);
			const std::string mask = rehearsal.Mask(r);
			if (!mh || !mh->IsListModeBase())
				Warn(r, "unknown-mode", "m." + r.Get("m"), "no such list here");
			else if (mask.empty())
				Warn(r, "bad-value", "mask", "the list does not take the entry here");
			else if (mask != r.Get("mask"))
				Warn(r, "changed", "mask", "the entry is another one here");
			else if (IsRedirect(mh->name, mask) && !ItemNamed("banredirect"))
				Warn(r, "changed", "mask", "no module here knows bans that send elsewhere: it bans nobody");
			if (mh && mh->IsListModeBase() && merged.count(r.Get("c")) && !IsListed(mh, ChannelNamed(r.Get("c")), mask))
				Lost(r, r.Get("m") + " " + r.Get("mask"));
			CheckKeys(r, known, OfChannel);
		}

		void CheckMember(const Line& r)
		{
			static const std::string place = OwnKey + "place", prefixes = OwnKey + "prefixes", membid = OwnKey + "membid";
			static const char* const known[] = { "u", "c", "m", "at", place.c_str(), prefixes.c_str(), membid.c_str(), nullptr };
			for (size_t i = 0; i < r.Get("m").length(); ++i)
				if (!StandardPrefix(r.Get("m")[i]))
					Warn(r, "unknown-prefix", "m", "no status " + r.Get("m").substr(i, 1) + " here");
			irc::spacesepstream own(r.Get(prefixes));
			for (std::string name; own.GetToken(name); )
			{
				const PrefixMode* const pm = NamedPrefix(name);
				if (!pm)
					Warn(r, "unknown-prefix", prefixes, "no status " + name + " here");
				else if (IsOfOperators(pm) && fallen.count(r.Get("u")))
					Warn(r, "changed", prefixes, name + " is for operators, and the user is none here");
			}
			CheckKeys(r, known, OfMember);
		}

		void CheckUser(const Line& r)
		{
			static const std::string own[] = {
				OwnKey + "operblock", OwnKey + "laddr", OwnKey + "lport", OwnKey + "spoke", OwnKey + "penalty", OwnKey + "counters",
				OwnKey + "uniqueusername", OwnKey + "accept-notified", OwnKey + "invites-until", OwnKey + "penalty-at",
				OwnKey + "realident",
			};
			static const char* const known[] = {
				"u", "id", "nick", "nts", "ident", "rhost", "dhost", "ip", "port", "real", "signon", "idle", "away", "awayat", "account",
				"certfp", "tls", "oper", "class", "snomask", "caps", "capver", "monitor", "silence", "accept", "invites",
				own[0].c_str(), own[1].c_str(), own[2].c_str(), own[3].c_str(), own[4].c_str(), own[5].c_str(), own[6].c_str(),
				own[7].c_str(), own[8].c_str(), own[9].c_str(), HidesIdents ? own[10].c_str() : nullptr, nullptr,
			};
			CheckKeys(r, known, OfUser);
			CheckNick(r);
			CheckHost(r);
			irc::sockets::sockaddrs sa;
			if (!ToAddress(r.Get("ip"), r.Num("port"), sa))
				Conflict(r, "bad-value", "ip", "not an address");
			if (world.streams.Find(r.Get("u")))
				Conflict(r, "bad-value", "u", "the stream id is in use");
			if (!r.Get("id").empty() && !ids.insert(r.Get("id")).second)
				Conflict(r, "bad-value", "id", "another user of the import has the id");
			else if (network && !CanHaveID(r.Get("id")))
				Conflict(r, "id", "id", "the id is not free here, and peers of links know the user by it");
			CheckLength(r, "real", ServerInstance->Config->Limits.MaxReal);
			CheckLength(r, "away", ServerInstance->Config->Limits.MaxAway);
			CheckServices(r);
			CheckRights(r);
			if (!ClassNamed(r.Get("class")))
			{
				Warn(r, "changed", "class", "no such connection class here");
				if (!AnyClass())
					Conflict(r, "bad-value", "class", "no connection class at all");
			}
			CheckBans(r);
		}

		void CheckNick(const Line& r)
		{
			const std::string& nick = r.Get("nick");
			User* const other = UserNamed(nick);
			if (!IsNick(nick) && (nick != r.Get("id") || !IsFree(nick)))
				Conflict(r, "nick-invalid", "nick", "not a nick here");
			else if ((other && IsRegistered(other)) || world.nicks.count(nick) || !nicknames.insert(nick).second)
				Conflict(r, "nick-in-use", "nick", HolderOf(other, world.streams));
			else
				nicks.push_back(nick);
		}

		void CheckHost(const Line& r)
		{
			const auto& limits = ServerInstance->Config->Limits;
			CheckLength(r, "ident", IdentLimit() + 1); // with the ~ of who did not answer
			if (HidesIdents)
				CheckLength(r, OwnKey + "realident", IdentLimit() + 1);
			CheckLength(r, "rhost", limits.MaxHost);
			CheckLength(r, "dhost", limits.MaxHost);
			if (r.Get("ident").empty())
				Warn(r, "changed", "ident", "there has to be one");
			irc::sockets::sockaddrs sa;
			if (r.Has(OwnKey + "laddr") && !ToAddress(r.Get(OwnKey + "laddr"), r.Num(OwnKey + "lport"), sa))
				Warn(r, "bad-value", OwnKey + "laddr", "not an address");
		}

		/** Whether the modules are there that keep accounts, lists and capabilities. */
		void CheckServices(const Line& r)
		{
			static const char* const pairs[][2] = {
				{ "account", "accountname" }, { "monitor", "monitor" }, { "silence", "silence_list" }, { "accept", "callerid_data" },
				{ "invites", "invite_user" }, { "caps", "caps" },
			};
			for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); ++i)
				if (!r.Get(pairs[i][0]).empty() && !ItemNamed(pairs[i][1]))
					Warn(r, "unknown-key", pairs[i][0], "no module here keeps it");
			static const std::string list = KeyOfExtension("silence_list"), dccallow = KeyOfExtension("dccallow");
			if (Entries(r.Get("silence"), 1) > silence || Entries(r.Get(list), 2) > silence)
				Warn(r, "bad-value", "silence", "cut to " + ConvToStr(silence) + " entries");
			if (!r.Get(dccallow).empty() && ItemOfKey(dccallow, OfUser))
				Warn(r, "changed", dccallow, "kept, but m_dccallow does not end entries that it has not made");
			irc::spacesepstream caps(r.Get("caps"));
			for (std::string name; caps.GetToken(name); )
				if (!CapNamed(name))
					Warn(r, "unknown-cap", "caps", name);
		}

		/** Nobody gets rights that are not in this ircd's own configuration. */
		void CheckRights(const Line& r)
		{
			if (r.Get("oper").empty())
			{
				if (!r.Get("snomask").empty())
					Warn(r, "changed", "snomask", "not kept: the user is no operator");
				return;
			}
			const OperRef oper = OperOf(r);
			if (!oper)
			{
				fallen.insert(r.Get("u"));
				Warn(r, "unknown-oper", "oper", "no such operator type here; the user is none");
				return;
			}
			if (r.Has(OwnKey + "operblock") && OperBlock(oper).empty())
				Warn(r, "changed", "oper", "no such operator block here; the rights of the type are kept");
			if (AllowedSnomasks(oper, r.Get("snomask")) != r.Get("snomask"))
				Warn(r, "changed", "snomask", "not all of them are for the operator's type here");
			for (size_t i = 0; i < r.fields.size(); ++i)
			{
				const ModeHandler* const mh = IsModeKey(r.fields[i].key) ? ModeOfKey(MODETYPE_USER, r.fields[i].key) : nullptr;
				if (mh && mh->NeedsOper() && !MayUse(oper, mh))
					Warn(r, "changed", r.fields[i].key, "the mode is not for the operator's type here");
			}
		}

		void CheckBans(const Line& r)
		{
			const std::string& hidden = r.Get(OwnKey + "realident");
			const std::string& ident = HidesIdents && !hidden.empty() ? hidden : r.Get("ident");
			const std::string who[] = { ident + "@" + r.Get("rhost"), ident + "@" + r.Get("ip") };
			XLineManager* const lines = ServerInstance->XLines;
			for (int i = 0; i < 2; ++i)
				if (lines->MatchesLine("E", who[i]))
					return;
			bool banned = lines->MatchesLine("Z", r.Get("ip")) != nullptr;
			for (int i = 0; i < 2; ++i)
				banned = banned || lines->MatchesLine("G", who[i]) || lines->MatchesLine("K", who[i]);
			if (banned)
				Conflict(r, "banned", "rhost", "a ban of this server matches");
		}
	};
}
