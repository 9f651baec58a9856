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


// What a replay of links could not bring back as it was: setters and times of lists, items of remote users and members.

#pragma once

namespace Handoff
{
	inline bool HasLocal(Channel* chan)
	{
		for (const auto& entry : chan->GetUsers())
			if (IS_LOCAL(entry.first))
				return true;
		return false;
	}

	/** Whether a channel has members, and all of them have come by links. */
	inline bool IsReplayed(Channel* chan) { return !chan->GetUsers().empty() && !HasLocal(chan); }

	/** Sets the modes that are not as in the record, and no other. */
	inline void RestoreModes(Channel* chan, const Line& r)
	{
		const ModeParser::ModeHandlerMap& modes = ServerInstance->Modes.GetModes(MODETYPE_CHANNEL);
		for (const auto& entry : modes)
		{
			ModeHandler* const mh = entry.second;
			if (mh->IsPrefixMode() || mh->IsListModeBase())
				continue;
			const Field* const want = r.Find(KeyOfMode(MODETYPE_CHANNEL, mh->name));
			const bool set = chan->IsModeSet(mh);
			if (want && mh->NeedsParam(true) == want->bare)
				continue;
			if (set == (want != nullptr) && (!set || want->bare || chan->GetModeParameter(mh) == want->value))
				continue;
			std::string param = want ? want->value : set ? chan->GetModeParameter(mh) : std::string();
			if (!mh->NeedsParam(true))
				chan->SetMode(mh, want != nullptr);
			else
				ChangeMode(mh, nullptr, chan, param, want != nullptr);
		}
	}

	/** Makes one list that of the records. */
	inline void RestoreList(Channel* chan, ListModeBase* list, const std::vector<const Line*>& entries)
	{
		ListModeBase::ModeList* const live = list->GetList(chan);
		bool same = live && live->size() == entries.size();
		for (size_t i = 0; same && i < entries.size(); ++i)
			same = ((*live)[i].mask == entries[i]->Get("mask"));
		if (!same && live)
			EmptyList(chan, list);
		for (size_t i = 0; i < entries.size(); ++i)
		{
			if (!same)
			{
				AddEntry(chan, *entries[i]);
				continue;
			}
			(*live)[i].setter = entries[i]->Get("by");
			(*live)[i].time = entries[i]->Num("at");
		}
	}

	/** The LIST records of channels, by list mode. */
	class RecordLists
	{
		typedef std::map<ListModeBase*, std::vector<const Line*>> Lists;
		std::map<Channel*, Lists> lists;

	 public:
		void Add(Channel* chan, const Line& r)
		{
			ModeHandler* const mh = ModeOfKey(MODETYPE_CHANNEL, r.Get("m"), true);
			if (mh && mh->IsListModeBase())
				lists[chan][mh->IsListModeBase()].push_back(&r);
		}

		/** Makes the lists of a channel those of its records. */
		void Restore(Channel* chan)
		{
			Lists& ours = lists[chan];
			for (ListModeBase* const mode : ServerInstance->Modes.GetListModes())
				if (ours.count(mode) || mode->GetList(chan))
					RestoreList(chan, mode, ours[mode]);
		}
	};

	/** Makes a channel that came by a replay what its record says, but for its lists. */
	inline void RestoreChannel(Channel* chan, const Line& r)
	{
		RestoreModes(chan, r);
		chan->topic.assign(r.Get("topic"), 0, ServerInstance->Config->Limits.MaxTopic);
		chan->setby = r.Get("tby");
		chan->topicset = r.Num("tat");
	}

	/** Puts a user's channels into this order. */
	inline void RestoreOrder(User* user, const std::string& names)
	{
		std::vector<Membership*> order;
		irc::spacesepstream list(names);
		for (std::string name; list.GetToken(name); )
		{
			Channel* const chan = ChannelNamed(name);
			if (Membership* const memb = chan ? chan->GetUser(user) : nullptr)
				order.push_back(memb);
		}
		for (size_t i = order.size(); i-- > 0; )
		{
			user->chans.erase(order[i]);
			user->chans.push_front(order[i]);
		}
	}

	/** Gives a remote user, or one of his memberships, the items of a REMOTE record. Those that a replayed JOIN made and the record does not have go. */
	inline void RestoreRemote(const Line& r, const NewIDs& ids)
	{
		User* const user = UserWithID(r.Get("id"));
		if (!user || IS_LOCAL(user))
			return;
		Channel* const chan = r.Has("c") ? ChannelNamed(r.Get("c")) : nullptr;
		Membership* const memb = chan ? chan->GetUser(user) : nullptr;
		if (r.Has("c") && !memb)
			return;
		if (!memb)
		{
			RestoreOrder(user, r.Get(OwnKey + "chans"));
			return SetExtensions(user, r, OfUser, ids);
		}
		const Extensible::ExtensibleStore items = memb->GetExtList();
		for (const auto& [item, value] : items)
			if (!HasNoKey(item->name) && item->ToNetwork(memb, value).empty() && !r.Has(KeyOfExtension(item->name)))
				item->FromInternal(memb, "");
		SetExtensions(memb, r, OfMember, ids);
	}
}
