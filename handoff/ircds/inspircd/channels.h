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


// COMMIT's channels: modes, topic, lists, extension items.

#pragma once

namespace Handoff
{
	/** Extension items by their own text, with the ids of users that have changed. */
	inline void SetExtensions(Extensible* item, const Line& r, ExtensionItem::ExtensibleType type, const NewIDs& ids)
	{
		for (size_t i = 0; i < r.fields.size(); ++i)
		{
			ExtensionItem* const ext = ItemOfKey(r.fields[i].key, type);
			if (ext)
				ext->FromInternal(item, ids.Rewrite(r.fields[i].value));
		}
	}

	/** A channel that was kept without members has what its database had, which is older than the record. */
	inline void EmptyChannel(Channel* chan)
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

	/** Makes an empty channel what its record says, but for extension items: these may name users. */
	inline void FillChannel(Channel* chan, const Line& r)
	{
		EmptyChannel(chan);
		chan->topic.assign(r.Get("topic"), 0, ServerInstance->Config->Limits.MaxTopic);
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
	}

	/** Adds a list entry with its setter and time. False: there is no such list, or it does not take it. */
	inline bool AddEntry(Channel* chan, const Line& r)
	{
		ModeHandler* const mh = ModeOfKey(MODETYPE_CHANNEL, r.Get("m"), true);
		ListModeBase* const list = mh ? mh->IsListModeBase() : NULL;
		if (!list)
			return false;
		std::string mask = r.Get("mask");
		if (list->OnModeChange(ServerInstance->FakeClient, NULL, chan, mask, true) != MODEACTION_ALLOW)
			return false;
		ListModeBase::ListItem& entry = list->GetList(chan)->back();
		entry.mask = r.Get("mask");
		entry.setter = r.Get("by");
		entry.time = r.Num("at");
		return true;
	}
}
