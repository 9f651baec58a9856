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


// COMMIT's channels: modes, topic, lists, extension items.

#pragma once

namespace Handoff
{
	/** Extension items by their own text, with the ids of users that have changed. */
	inline void SetExtensions(Extensible* item, const Line& r, ItemType type, const NewIDs& ids)
	{
		for (size_t i = 0; i < r.fields.size(); ++i)
		{
			ExtensionItem* const ext = ItemOfKey(r.fields[i].key, type);
			if (ext)
				ext->FromInternal(item, ids.Rewrite(r.fields[i].value));
		}
	}

	/** Whether the mask is of a ban that sends elsewhere: nick!ident@host#channel. */
	inline bool IsRedirect(const std::string& mode, const std::string& mask)
	{
		return mode == "ban" && mask.find('#') != std::string::npos && mask.find(':') != 1;
	}

	/** Changes a mode as a MODE of this server does, which those hear of who watch it. Nobody is on the channel. */
	inline bool Change(Channel* chan, ModeHandler* mh, bool adding, const std::string& param)
	{
		Modes::ChangeList change;
		change.push(mh, adding, param);
		ServerInstance->Modes.Process(ServerInstance->FakeClient, chan, nullptr, change, ModeParser::MODE_LOCALONLY);
		return !ServerInstance->Modes.GetLastChangeList().empty();
	}

	inline void EmptyList(Channel* chan, ListModeBase* list)
	{
		const ListModeBase::ModeList entries = *list->GetList(chan);
		for (ListModeBase::ModeList::const_iterator e = entries.begin(); e != entries.end(); ++e)
			if (IsRedirect(list->name, e->mask))
				Change(chan, list, false, e->mask);
		list->GetList(chan)->clear();
	}

	/** A channel that was kept without members has what its database had, which is older than the record. */
	inline void EmptyChannel(Channel* chan)
	{
		const ModeParser::ModeHandlerMap& modes = ServerInstance->Modes.GetModes(MODETYPE_CHANNEL);
		for (ModeParser::ModeHandlerMap::const_iterator i = modes.begin(); i != modes.end(); ++i)
		{
			ModeHandler* const mh = i->second;
			ListModeBase* const list = mh->IsListModeBase();
			std::string param;
			if (list && list->GetList(chan))
				EmptyList(chan, list);
			else if (list || mh->IsPrefixMode() || !chan->IsModeSet(mh))
				continue;
			else if (mh->NeedsParam(true))
				ChangeMode(mh, nullptr, chan, param, false);
			else
				chan->SetMode(mh, false);
		}
	}

	/** Has m_permchannels write its database soon, if the channel is one of its. It looks for this event alone. */
	inline void SavePermanent(Channel* chan)
	{
		Module* const perm = ServerInstance->Modules.Find("m_permchannels.so");
		if (perm)
			perm->OnPostTopicChange(ServerInstance->FakeClient, chan, chan->topic);
	}

	/** Whether a channel that lives here is the record's. */
	inline bool IsSame(const Channel* live, const Line& r)
	{
		return live->name == r.Get("n") && static_cast<uint64_t>(live->age) == r.Num("ts");
	}

	/** Whether a channel was made since the record's was, and the import has a reason to kick its members. */
	inline bool GivesWay(const Channel* live, const Line& r, const std::string& kick)
	{
		return !kick.empty() && r.Num("ts") && static_cast<uint64_t>(live->age) > r.Num("ts");
	}

	/** Kicks all members, visibly, and ends the channel even if +P keeps it. */
	inline void EndChannel(Channel* chan, const std::string& kick)
	{
		while (!chan->GetUsers().empty()) // without the last one it is in the cull list, and still there
			chan->KickUser(ServerInstance->FakeClient, chan->userlist.begin(), kick);
		if (ChannelNamed(chan->name) != chan)
			return;
		SavePermanent(chan);
		EmptyChannel(chan);
		chan->CheckDestroy();
	}

	/** Makes an empty channel what its record says, but for extension items: these may name users. */
	inline void FillChannel(Channel* chan, const Line& r)
	{
		EmptyChannel(chan);
		chan->topic.assign(r.Get("topic"), 0, ServerInstance->Config->Limits.MaxTopic);
		chan->setby = r.Get("tby");
		chan->topicset = r.Num("tat");
		for (size_t i = 0; i < r.fields.size(); ++i)
		{
			ModeHandler* const mh = IsModeKey(r.fields[i].key) ? ModeOfKey(MODETYPE_CHANNEL, r.fields[i].key) : nullptr;
			if (!mh || mh->IsPrefixMode() || mh->IsListModeBase() || mh->NeedsParam(true) == r.fields[i].bare)
				continue;
			std::string param = r.fields[i].value;
			if (mh->NeedsParam(true))
				ChangeMode(mh, nullptr, chan, param, true);
			else
				chan->SetMode(mh, true);
		}
	}

	/** Adds a list entry with its setter and time. The mask as the list has it; empty: there is no such list, or it does not take it. */
	inline std::string AddEntry(Channel* chan, const Line& r)
	{
		ModeHandler* const mh = ModeOfKey(MODETYPE_CHANNEL, r.Get("m"), true);
		ListModeBase* const list = mh ? mh->IsListModeBase() : nullptr;
		if (!list)
			return std::string();
		std::string mask = r.Get("mask");
		Complete(mh, mask);
		const bool taken = IsRedirect(mh->name, mask) ? Change(chan, mh, true, mask) // m_banredirect has no other ear
			: ChangeMode(list, nullptr, chan, mask, true);
		if (!taken)
			return std::string();
		ListModeBase::ListItem& entry = list->GetList(chan)->back();
		entry.setter = r.Get("by");
		entry.time = r.Num("at");
		return entry.mask;
	}
}
