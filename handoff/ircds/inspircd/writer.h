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


// What a source tells of channels, users and members (HANDOFF.md, section 8).

#pragma once

namespace Handoff
{
	class RecordWriter
	{
		const World& world;

	 public:
		RecordWriter(const World& w) : world(w) { }

		/** Appends a channel with its lists. others: members who are not exported. */
		void ChannelRecords(Channel* chan, const std::string& others, std::string& out, Tally& tally) const
		{
			Line record("CHAN");
			record.Add("n", chan->name).Add("ts", chan->age);
			if (!chan->topic.empty() || chan->topicset)
				record.Set("topic", chan->topic).Set("tby", chan->setby).Add("tat", chan->topicset);

			const ModeParser::ModeHandlerMap& modes = ServerInstance->Modes.GetModes(MODETYPE_CHANNEL);
			for (ModeParser::ModeHandlerMap::const_iterator i = modes.begin(); i != modes.end(); ++i)
			{
				ModeHandler* const mh = i->second;
				if (mh->IsPrefixMode() || mh->IsListModeBase() || !chan->IsModeSet(mh))
					continue;
				if (mh->NeedsParam(true))
					record.Add(KeyOfMode(MODETYPE_CHANNEL, mh->name), chan->GetModeParameter(mh));
				else
					record.Bare(KeyOfMode(MODETYPE_CHANNEL, mh->name));
			}
			record.Set(AbsentKey(), others);
			Extensions(chan, record);
			AppendRecord(out, record, tally);

			const ModeParser::ListModeList& lists = ServerInstance->Modes.GetListModes();
			for (ModeParser::ListModeList::const_iterator i = lists.begin(); i != lists.end(); ++i)
			{
				const ListModeBase::ModeList* const list = (*i)->GetList(chan);
				if (!list)
					continue;
				for (ListModeBase::ModeList::const_iterator e = list->begin(); e != list->end(); ++e)
				{
					Line entry("LIST");
					entry.Add("c", chan->name).Add("m", KeyOfMode(MODETYPE_CHANNEL, (*i)->name, true));
					entry.Add("mask", e->mask).Set("by", e->setter).Add("at", e->time);
					if ((*i)->name == "ban" && world.timed.Of(chan, e->mask))
						entry.Add(TimedBans::Key(), world.timed.Of(chan, e->mask));
					AppendRecord(out, entry, tally);
				}
			}
		}

		/** peek: without the cut. */
		Line UserRecord(LocalUser* user, bool peek) const
		{
			const Stream* const stream = world.streams.Get(user);
			Line r("USER");
			r.Add("u", stream->u).Add("id", user->uuid).Add("nick", user->nick).Add("nts", NickTime(user));
			r.Set("ident", Ident(user)).Set(OwnKey + "realident", HiddenIdent(user)).Set("rhost", user->GetRealHost()).Set("dhost", user->GetDisplayedHost());
			r.Set("ip", user->client_sa.addr()).Add("port", user->client_sa.port()).Set("real", user->GetRealName());
			r.Add("signon", user->signon).Add("idle", std::max<time_t>(0, ServerInstance->Time() - user->idle_lastmsg));
			if (user->IsAway())
				r.Add("away", AwayText(user)).Add("awayat", AwayTime(user));
			r.Set("account", ItemText(user, "accountname"));
			r.Set("certfp", stream->certfp).Set("tls", stream->tls);
			if (user->oper)
				r.Set("oper", OperType(user->oper)).Set(OwnKey + "operblock", OperBlock(user->oper));
			r.Set("class", user->GetClass() ? user->GetClass()->name : "");
			r.Set("snomask", Snomasks(user));
			PrivateLists(user, r);

			const ModeParser::ModeHandlerMap& modes = ServerInstance->Modes.GetModes(MODETYPE_USER);
			for (ModeParser::ModeHandlerMap::const_iterator i = modes.begin(); i != modes.end(); ++i)
			{
				ModeHandler* const mh = i->second;
				if (!user->IsModeSet(mh) || mh->name == "oper" || mh->name == "snomask")
					continue;
				if (mh->NeedsParam(true))
					r.Add(KeyOfMode(MODETYPE_USER, mh->name), mh->GetUserParameter(user));
				else
					r.Bare(KeyOfMode(MODETYPE_USER, mh->name));
			}

			r.Set(OwnKey + "laddr", user->server_sa.addr()).Add(OwnKey + "lport", user->server_sa.port());
			r.Add(OwnKey + "spoke", user->idle_lastmsg).Add(OwnKey + "penalty", user->CommandFloodPenalty)
				.Add(OwnKey + "penalty-at", ServerInstance->Time());
			r.Add(OwnKey + "counters", ConvToStr(user->bytes_in) + " " + ConvToStr(user->bytes_out) + " "
				+ ConvToStr(user->cmds_in) + " " + ConvToStr(user->cmds_out));
			if (user->uniqueusername)
				r.Bare(OwnKey + "uniqueusername");
			Extensions(user, r);
			if (peek)
				return r;

			r.Add("in", stream->in).Add("out", stream->out).Set("rq", RecvQ::Of(user->eh));
			std::string sq;
			for (StreamSocket::SendQueue::const_iterator i = user->eh.GetSendQ().begin(); i != user->eh.GetSendQ().end(); ++i)
				if (sq.length() < (1u << 20) + MaxLine) // over 1 MiB the coordinator ends the session
					sq.append(*i);
			r.Set("sq", sq);
			return r;
		}

		/** links: server links come too, whose peers know the membership by its id. */
		Line MemberRecord(Membership* memb, bool links) const
		{
			std::string standard, own;
			for (const PrefixMode* const pm : StatusOf(memb))
			{
				const PrefixName* known = PrefixNames;
				while (known->letter && pm->name != known->inspircd)
					known++;
				if (known->letter)
					standard.push_back(known->letter);
				else
					own.append(own.empty() ? "" : " ").append(pm->name);
			}
			unsigned int place = 0; // in the user's own list of channels
			for (User::ChanList::iterator c = memb->user->chans.begin(); c != memb->user->chans.end() && *c != memb; ++c)
				place++;
			Line r("MEMB");
			r.Add("u", world.streams.Get(memb->user)->u).Add("c", memb->chan->name).Set("m", standard);
			r.Set(OwnKey + "prefixes", own).Add(OwnKey + "place", place);
			if (links)
				r.Add(OwnKey + "membid", memb->id);
			Extensions(memb, r);
			return r;
		}

	 private:
		/** Extension items by their own text. Those that have none are lost, and the destination warns of them. */
		static void Extensions(Extensible* item, Line& record)
		{
			const Extensible::ExtensibleStore& store = item->GetExtList();
			for (Extensible::ExtensibleStore::const_iterator i = store.begin(); i != store.end(); ++i)
			{
				ExtensionItem* const ext = i->first;
				if (ext->name == "parammode_history" || ext->name == "param-mode-history")
					record.Bare(OwnKey + "lost.history");
				if (HasNoKey(ext->name))
					continue;
				std::string value = ext->ToInternal(item, i->second);
				for (char& c : value)
					if (c == '\0' || c == '\r' || c == '\n')
						c = ' '; // from a configuration: nobody could be shown it as it is
				if (!value.empty())
					record.Add(KeyOfExtension(ext->name), value);
				else
					record.Bare(OwnKey + "lost." + KeyOfExtension(ext->name).substr(OwnKey.length() + 4));
			}
		}

		static std::string Snomasks(const User* user)
		{
			std::string letters;
			for (unsigned char c = 'A'; c <= 'z'; ++c)
				if (isalpha(c) && user->snomasks[c - 'A'])
					letters.push_back(c);
			return letters;
		}

		/** Capabilities and the lists that the standard knows. */
		static void PrivateLists(LocalUser* user, Line& r)
		{
			std::string caps = ItemText(user, "caps"); // names, then one word: the version's last digit
			if (!caps.empty())
			{
				const std::string version = caps.substr(caps.length() - 1);
				caps.erase(caps.length() - std::min<size_t>(2, caps.length()));
				r.Set("caps", caps).Set("capver", version == "2" ? "302" : "301");
			}
			r.Set("monitor", ItemText(user, "monitor"));
			std::string masks, mask, flags;
			irc::spacesepstream silence(ItemText(user, "silence_list"));
			while (silence.GetToken(mask) && silence.GetToken(flags))
				masks.append(masks.empty() ? "" : " ").append(mask);
			r.Set("silence", masks);

			// The accept list names ids, which may change: nicks are told instead.
			irc::commasepstream accept(ItemText(user, "callerid_data"));
			std::string word, nicks;
			if (accept.GetToken(word) && word != "0")
				r.Set(OwnKey + "accept-notified", word);
			while (accept.GetToken(word))
			{
				User* const other = UserWithID(word);
				if (other)
					nicks.append(nicks.empty() ? "" : " ").append(other->nick);
			}
			r.Set("accept", nicks);

			std::string invited, times, chan, until;
			irc::spacesepstream invites(ItemText(user, "invite_user"));
			while (invites.GetToken(chan) && invites.GetToken(until))
			{
				invited.append(invited.empty() ? "" : " ").append(chan);
				times.append(times.empty() ? "" : " ").append(until);
			}
			r.Set("invites", invited).Set(OwnKey + "invites-until", times);
		}
	};
}
