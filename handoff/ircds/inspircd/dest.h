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

// The destination (HANDOFF.md, section 7): records to users. What records ask is looked at in Prepare; Commit builds all in one turn.

#pragma once

namespace Handoff
{
	/** A WARN or a CONFLICT. */
	struct Note
	{
		std::string u, c, code, key, text;
		Note(const std::string& U, const std::string& C, const std::string& Code, const std::string& Key, const std::string& Text)
			: u(U), c(C), code(Code), key(Key), text(Text) { }

		Line Message(const std::string& verb, const std::string& tx) const
		{
			Line m(verb);
			m.Add("tx", tx).Set("u", u).Set("c", c).Add("code", code).Set("k", key).Set("text", text);
			return m;
		}
	};

	/** An import's records, as they were checked one by one, and what becomes of them. */
	class Destination
	{
		typedef std::map<std::string, User*> UserMap;

		World& world;
		std::vector<Line> records;
		UserMap users;                           // by stream id, during Commit
		std::vector<std::string> nicks, channels; // reserved by this import
		std::map<std::string, std::string> newids; // id of the record: id here, where they differ
		std::set<Membership*> created;

	 public:
		std::vector<Note> warns, conflicts;

		Destination(World& w) : world(w) { }

		~Destination() { Unreserve(); }

		void Take(std::vector<Line>& recs) { records.swap(recs); }

		/** Looks for what cannot be kept and what cannot be, and reserves names. */
		void Prepare()
		{
			unsigned int newusers = 0;
			for (size_t i = 0; i < records.size(); ++i)
			{
				const Line& r = records[i];
				if (r.verb == "CHAN")
					CheckChannel(r);
				else if (r.verb == "LIST")
					CheckList(r);
				else if (r.verb == "USER")
				{
					CheckUser(r);
					newusers++;
				}
				else
					CheckMember(r);
			}
			if (ServerInstance->Users->GetLocalUsers().size() + newusers > ServerInstance->Config->SoftLimit)
				conflicts.push_back(Note("", "", "limit", "", "<performance:softlimit> is " + ConvToStr(ServerInstance->Config->SoftLimit)));
			for (size_t i = 0; i < nicks.size(); ++i)
				world.nicks.insert(nicks[i]);
			for (size_t i = 0; i < channels.size(); ++i)
				world.channels.insert(channels[i]);
		}

		/** What has come between since Prepare. Nothing is changed if this is a fault. */
		Fault Late() const
		{
			for (size_t i = 0; i < records.size(); ++i)
			{
				const Line& r = records[i];
				if (r.verb == "USER")
				{
					User* const other = ServerInstance->FindNickOnly(r.Get("nick"));
					if (other && other->registered == REG_ALL)
						return Fault("conflict", "the nick was taken", r.Get("u"));
				}
				else if (r.verb == "CHAN")
				{
					Channel* const live = ServerInstance->FindChan(r.Get("n"));
					if (live && (live->name != r.Get("n") || static_cast<uint64_t>(live->age) != r.Num("ts")))
						return Fault("conflict", "a channel of the name was made");
				}
			}
			return Fault();
		}

		/** Makes all users live. fds: by stream id; each has got its LIVE line, or is -1. Nobody sees it but by bans as they are now. */
		void Commit(std::map<std::string, int>& fds)
		{
			Unreserve();
			for (size_t i = 0; i < records.size(); ++i) // who holds a nick without having registered has to choose another one
			{
				User* const camper = records[i].verb == "USER" ? ServerInstance->FindNickOnly(records[i].Get("nick")) : NULL;
				if (camper)
					static_cast<LocalUser*>(camper)->OverruleNick();
			}
			std::vector<LocalUser*> live, lost;
			{
				Silence silence(world);
				std::set<Channel*> kept; // live ones, which keep what they have
				BuildChannels(kept);
				for (size_t i = 0; i < records.size(); ++i)
				{
					if (records[i].verb != "USER")
						continue;
					LocalUser* const user = BuildUser(records[i], fds[records[i].Get("u")]);
					users[records[i].Get("u")] = user;
					live.push_back(user);
					if (!SocketEngine::AddFd(&user->eh, FD_WANT_FAST_READ | FD_WANT_EDGE_WRITE))
						lost.push_back(user);
				}
				BuildMembers();
				for (size_t i = 0; i < records.size(); ++i)
					if (records[i].verb == "USER")
						Belongings(static_cast<LocalUser*>(users[records[i].Get("u")]), records[i]);
				for (size_t i = 0; i < live.size(); ++i)
					Announce(live[i]);
			}
			for (size_t i = 0; i < lost.size(); ++i)
				ServerInstance->Users->QuitUser(lost[i], "Connection closed");
			for (size_t i = 0; i < live.size(); ++i)
			{
				if (live[i]->quitting)
					continue;
				live[i]->exempt = (ServerInstance->XLines->MatchesLine("E", live[i]) != NULL);
				live[i]->CheckLines(true);
			}
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

		// What PREPARE says.

		void Warn(const Line& r, const std::string& code, const std::string& key, const std::string& text)
		{
			warns.push_back(Note(r.Get("u"), ChannelOf(r), code, key, text));
		}

		void Conflict(const Line& r, const std::string& code, const std::string& key, const std::string& text)
		{
			conflicts.push_back(Note(r.Get("u"), ChannelOf(r), code, key, text));
		}

		static const std::string& ChannelOf(const Line& r) { return r.Get(r.verb == "CHAN" ? "n" : "c"); }

		/** Warns of keys that are not kept. known: a list that ends with NULL. */
		void CheckKeys(const Line& r, const char* const* known, ExtensionItem::ExtensibleType type)
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
				ExtensionItem* const ext = ServerInstance->Extensions.GetItem(ExtensionOfKey(key));
				if (!ext || ext->type != type)
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
		}

		void CheckChannel(const Line& r)
		{
			static const char* const known[] = { "n", "ts", "topic", "tby", "tat", NULL };
			const std::string& name = r.Get("n");
			Channel* const live = ServerInstance->FindChan(name);
			if (!ServerInstance->IsChannel(name))
				Conflict(r, "channel-invalid", "n", "not a channel name here");
			else if (world.channels.count(name))
				Conflict(r, "channel-exists", "n", "the name is reserved");
			else if (!live)
				channels.push_back(name);
			else if (live->name != name || static_cast<uint64_t>(live->age) != r.Num("ts"))
				Conflict(r, "channel-exists", "n", "another channel has the name");
			else if (live->GetUserCounter()) // an empty one, kept by +P, is what the record tells of
				Warn(r, "merged", "n", "the channel lives here; its topic, modes and lists stay");
			CheckKeys(r, known, ExtensionItem::EXT_CHANNEL);
		}

		void CheckList(const Line& r)
		{
			static const char* const known[] = { "c", "m", "mask", "by", "at", NULL };
			ModeHandler* const mh = ModeOfKey(MODETYPE_CHANNEL, r.Get("m"), true);
			if (!mh || !mh->IsListModeBase())
				Warn(r, "unknown-mode", "m." + r.Get("m"), "no such list here");
			CheckKeys(r, known, ExtensionItem::EXT_CHANNEL);
		}

		void CheckMember(const Line& r)
		{
			static const std::string place = OwnKey + "place", prefixes = OwnKey + "prefixes";
			static const char* const known[] = { "u", "c", "m", "at", place.c_str(), prefixes.c_str(), NULL };
			for (size_t i = 0; i < r.Get("m").length(); ++i)
				if (!StandardPrefix(r.Get("m")[i]))
					Warn(r, "unknown-prefix", "m", "no status " + r.Get("m").substr(i, 1) + " here");
			irc::spacesepstream own(r.Get(prefixes));
			for (std::string name; own.GetToken(name); )
				if (!NamedPrefix(name))
					Warn(r, "unknown-prefix", prefixes, "no status " + name + " here");
			CheckKeys(r, known, ExtensionItem::EXT_MEMBERSHIP);
		}

		static PrefixMode* NamedPrefix(const std::string& name)
		{
			ModeHandler* const mh = ServerInstance->Modes->FindMode(name, MODETYPE_CHANNEL);
			return mh ? mh->IsPrefixMode() : NULL;
		}

		static PrefixMode* StandardPrefix(char letter)
		{
			for (const PrefixName* p = PrefixNames; p->letter; ++p)
				if (p->letter == letter)
					return NamedPrefix(p->inspircd);
			return NULL;
		}

		void CheckUser(const Line& r)
		{
			static const std::string own[] = {
				OwnKey + "operblock", OwnKey + "laddr", OwnKey + "lport", OwnKey + "spoke", OwnKey + "penalty", OwnKey + "counters",
				OwnKey + "uniqueusername", OwnKey + "accept-notified", OwnKey + "invites-until",
			};
			static const char* const known[] = {
				"u", "id", "nick", "nts", "ident", "rhost", "dhost", "ip", "port", "real", "signon", "idle", "away", "awayat", "account",
				"certfp", "tls", "oper", "class", "snomask", "caps", "capver", "monitor", "silence", "accept", "invites",
				own[0].c_str(), own[1].c_str(), own[2].c_str(), own[3].c_str(), own[4].c_str(), own[5].c_str(), own[6].c_str(),
				own[7].c_str(), own[8].c_str(), NULL,
			};
			CheckKeys(r, known, ExtensionItem::EXT_USER);
			CheckNick(r);
			irc::sockets::sockaddrs sa;
			if (!ToAddress(r.Get("ip"), r.Num("port"), sa))
				Conflict(r, "bad-value", "ip", "not an address");
			if (world.streams.Find(r.Get("u")))
				Conflict(r, "bad-value", "u", "the stream id is in use");
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
			User* const other = ServerInstance->FindNickOnly(nick);
			if (!ServerInstance->IsNick(nick) && nick != r.Get("id"))
				Conflict(r, "nick-invalid", "nick", "not a nick here");
			else if ((other && other->registered == REG_ALL) || world.nicks.count(nick))
				Conflict(r, "nick-in-use", "nick", "the nick is taken");
			else
				nicks.push_back(nick);
		}

		/** Whether the modules are there that keep accounts, lists and capabilities. */
		void CheckServices(const Line& r)
		{
			static const char* const pairs[][2] = {
				{ "account", "accountname" }, { "monitor", "monitor" }, { "silence", "silence_list" }, { "accept", "callerid_data" },
				{ "invites", "invite_user" }, { "caps", "caps" },
			};
			for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); ++i)
				if (!r.Get(pairs[i][0]).empty() && !ServerInstance->Extensions.GetItem(pairs[i][1]))
					Warn(r, "unknown-key", pairs[i][0], "no module here keeps it");
			irc::spacesepstream caps(r.Get("caps"));
			for (std::string name; caps.GetToken(name); )
				if (!CapNamed(name))
					Warn(r, "unknown-cap", "caps", name);
		}

		/** Nobody gets rights that are not in this ircd's own configuration. */
		void CheckRights(const Line& r)
		{
			if (r.Get("oper").empty())
				return;
			const reference<OperInfo> info = OperNamed(r);
			if (!info)
				Warn(r, "unknown-oper", "oper", "no such operator type here; the user is none");
			else if (r.Has(OwnKey + "operblock") && !info->oper_block)
				Warn(r, "changed", "oper", "no such operator block here; the rights of the type are kept");
		}

		static reference<OperInfo> OperNamed(const Line& r)
		{
			const ServerConfig::OperIndex& blocks = ServerInstance->Config->oper_blocks;
			const ServerConfig::OperIndex& types = ServerInstance->Config->OperTypes;
			ServerConfig::OperIndex::const_iterator block = blocks.find(r.Get(OwnKey + "operblock"));
			if (block != blocks.end() && block->second->name == r.Get("oper"))
				return block->second;
			ServerConfig::OperIndex::const_iterator type = types.find(r.Get("oper"));
			if (type != types.end())
				return type->second;
			return NULL;
		}

		static ConnectClass* ClassNamed(const std::string& name)
		{
			const ServerConfig::ClassVector& all = ServerInstance->Config->Classes;
			for (ServerConfig::ClassVector::const_iterator i = all.begin(); i != all.end(); ++i)
				if ((*i)->type != CC_DENY && (*i)->name == name)
					return *i;
			return NULL;
		}

		static ConnectClass* AnyClass()
		{
			const ServerConfig::ClassVector& all = ServerInstance->Config->Classes;
			for (ServerConfig::ClassVector::const_iterator i = all.begin(); i != all.end(); ++i)
				if ((*i)->type == CC_ALLOW)
					return *i;
			return NULL;
		}

		Cap::Capability* CapNamed(const std::string& word) const
		{
			Cap::Manager* const manager = ServerInstance->Modules->FindDataService<Cap::Manager>("capmanager");
			return manager ? manager->Find(word.substr(0, word.find('='))) : NULL;
		}

		void CheckBans(const Line& r)
		{
			const std::string who[] = { r.Get("ident") + "@" + r.Get("rhost"), r.Get("ident") + "@" + r.Get("ip") };
			XLineManager* const lines = ServerInstance->XLines;
			for (int i = 0; i < 2; ++i)
				if (lines->MatchesLine("E", who[i]))
					return;
			bool banned = lines->MatchesLine("Z", r.Get("ip")) != NULL;
			for (int i = 0; i < 2; ++i)
				banned = banned || lines->MatchesLine("G", who[i]) || lines->MatchesLine("K", who[i]);
			if (banned)
				Conflict(r, "banned", "rhost", "a ban of this server matches");
		}

		// What COMMIT builds.

		void BuildChannels(std::set<Channel*>& kept)
		{
			for (size_t i = 0; i < records.size(); ++i)
			{
				const Line& r = records[i];
				if (r.verb == "CHAN")
				{
					Channel* chan = ServerInstance->FindChan(r.Get("n"));
					if (chan && chan->GetUserCounter())
						kept.insert(chan);
					else
					{
						if (!chan)
							chan = new Channel(r.Get("n"), r.Num("ts"));
						FillChannel(chan, r);
					}
				}
				else if (r.verb == "LIST")
				{
					Channel* const chan = ServerInstance->FindChan(r.Get("c"));
					if (!kept.count(chan))
						AddEntry(chan, r);
				}
			}
		}

		static void FillChannel(Channel* chan, const Line& r)
		{
			EmptyChannel(chan);
			chan->topic = r.Get("topic");
			chan->setby = r.Get("tby");
			chan->topicset = r.Num("tat");
			for (size_t i = 0; i < r.fields.size(); ++i)
			{
				ModeHandler* const mh = IsModeKey(r.fields[i].key) ? ModeOfKey(MODETYPE_CHANNEL, r.fields[i].key) : NULL;
				if (!mh || mh->IsPrefixMode() || mh->IsListModeBase() || mh->NeedsParam(true) == r.fields[i].bare)
					continue;
				std::string param = r.fields[i].value;
				if (mh->NeedsParam(true))
					mh->OnModeChange(ServerInstance->FakeClient, NULL, chan, param, true);
				else
					chan->SetMode(mh, true);
			}
			SetExtensions(chan, r, ExtensionItem::EXT_CHANNEL, NULL);
		}

		/** A channel that was kept without members has what its database had, which is older than the record. */
		static void EmptyChannel(Channel* chan)
		{
			const ModeParser::ModeHandlerMap& modes = ServerInstance->Modes->GetModes(MODETYPE_CHANNEL);
			for (ModeParser::ModeHandlerMap::const_iterator i = modes.begin(); i != modes.end(); ++i)
			{
				ModeHandler* const mh = i->second;
				ListModeBase* const list = mh->IsListModeBase();
				std::string param;
				if (list && list->GetList(chan))
					list->GetList(chan)->clear();
				else if (list || mh->IsPrefixMode() || !chan->IsModeSet(mh))
					continue;
				else if (mh->NeedsParam(true))
					mh->OnModeChange(ServerInstance->FakeClient, NULL, chan, param, false);
				else
					chan->SetMode(mh, false);
			}
		}

		static void AddEntry(Channel* chan, const Line& r)
		{
			ModeHandler* const mh = ModeOfKey(MODETYPE_CHANNEL, r.Get("m"), true);
			ListModeBase* const list = mh ? mh->IsListModeBase() : NULL;
			if (!list)
				return;
			std::string mask = r.Get("mask");
			if (list->OnModeChange(ServerInstance->FakeClient, NULL, chan, mask, true) != MODEACTION_ALLOW)
				return;
			ListModeBase::ListItem& entry = list->GetList(chan)->back();
			entry.mask = r.Get("mask");
			entry.setter = r.Get("by");
			entry.time = r.Num("at");
		}

		/** Extension items by their own text, with the ids of users that have changed. */
		static void SetExtensions(Extensible* item, const Line& r, ExtensionItem::ExtensibleType type, const Destination* ids)
		{
			for (size_t i = 0; i < r.fields.size(); ++i)
			{
				const std::string name = ExtensionOfKey(r.fields[i].key);
				ExtensionItem* const ext = name.empty() ? NULL : ServerInstance->Extensions.GetItem(name);
				if (ext && ext->type == type)
					ext->FromInternal(item, ids ? ids->Rewrite(r.fields[i].value) : r.fields[i].value);
			}
		}

		/** Replaces ids that have changed, where they stand as words of their own. */
		std::string Rewrite(const std::string& value) const
		{
			if (newids.empty())
				return value;
			std::string out;
			for (size_t pos = 0; pos < value.length(); )
			{
				size_t end = pos;
				while (end < value.length() && isalnum(static_cast<unsigned char>(value[end])))
					end++;
				std::map<std::string, std::string>::const_iterator id = newids.find(value.substr(pos, end - pos));
				out.append(id == newids.end() ? value.substr(pos, end - pos) : id->second);
				for (pos = end; pos < value.length() && !isalnum(static_cast<unsigned char>(value[pos])); ++pos)
					out.push_back(value[pos]);
			}
			return out;
		}

		/** The id of the record where it is free and ours to give. */
		std::string ChooseID(const Line& r)
		{
			const std::string& id = r.Get("id");
			bool fits = id.length() == UIDGenerator::UUID_LENGTH && !id.compare(0, 3, ServerInstance->Config->GetSID())
				&& !ServerInstance->FindUUID(id);
			for (size_t i = 0; i < id.length() && fits; ++i)
				fits = IsUpper(id[i]) || IsDigit(id[i]);
			if (fits)
				return id;
			const std::string fresh = ServerInstance->UIDGen.GetUID();
			if (!id.empty())
				newids[id] = fresh;
			return fresh;
		}

		/** The user by itself: no channel, no list. */
		LocalUser* BuildUser(const Line& r, int fd)
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

			LocalUser* const user = new LocalUser(fd, ChooseID(r), data);
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

		typedef std::pair<uint64_t, const Line*> Placed;

		static bool LaterPlace(const Placed& a, const Placed& b) { return a.first > b.first; }

		void BuildMembers()
		{
			const std::string place = OwnKey + "place", prefixes = OwnKey + "prefixes";
			std::vector<Placed> members;
			for (size_t i = 0; i < records.size(); ++i)
				if (records[i].verb == "MEMB")
					members.push_back(Placed(records[i].Num(place), &records[i]));
			std::stable_sort(members.begin(), members.end(), LaterPlace); // a user's channels are put in front of those before
			for (size_t i = 0; i < members.size(); ++i)
			{
				const Line& r = *members[i].second;
				User* const user = users[r.Get("u")];
				Channel* const chan = ServerInstance->FindChan(r.Get("c"));
				const bool first = !chan->GetUserCounter();
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
					if (PrefixMode* const pm = NamedPrefix(name))
						memb->SetPrefix(pm, true);
				SetExtensions(memb, r, ExtensionItem::EXT_MEMBERSHIP, this);
			}
		}

		/** What a user has: rights, modes, capabilities, lists. All users and channels are there. */
		void Belongings(LocalUser* user, const Line& r)
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
			SetExtensions(user, r, ExtensionItem::EXT_USER, this);
		}

		static void FromText(LocalUser* user, const std::string& name, const std::string& value)
		{
			ExtensionItem* const ext = value.empty() ? NULL : ServerInstance->Extensions.GetItem(name);
			if (ext)
				ext->FromInternal(user, value);
		}

		/** The capabilities that the user has by now, each with a space behind it. */
		static std::string Own(LocalUser* user, const std::string& name)
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

		static void UserModes(LocalUser* user, const Line& r)
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

		void AcceptList(LocalUser* user, const Line& r) const
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

		static void Invites(LocalUser* user, const Line& r)
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

		/** Tells those parts of the ircd that count or pass on, and no other. */
		void Announce(LocalUser* user)
		{
			Module* const lusers = ServerInstance->Modules->Find("core_lusers.so");
			if (lusers)
				lusers->OnPostConnect(user);
			Module* const tree = ServerInstance->Modules->Find("m_spanningtree.so");
			if (!tree)
				return;
			tree->OnUserConnect(user);
			CUList nobody;
			for (User::ChanList::iterator i = user->chans.begin(); i != user->chans.end(); ++i)
				tree->OnUserJoin(*i, false, created.count(*i), nobody);
		}
	};
}
