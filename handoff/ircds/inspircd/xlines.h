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


// Bans of the network (X-lines): those that servers tell each other of, and which of them peers do not know yet.

#pragma once

namespace Handoff
{
	/** Calls each with every ban of the network. */
	template <typename Each>
	void EachNetworkBan(const Each& each)
	{
		for (const std::string& type : ServerInstance->XLines->GetAllTypes())
			if (XLineLookup* const lines = ServerInstance->XLines->GetAll(type))
				for (const auto& entry : *lines)
					if (entry.second->IsBurstable())
						each(entry.second);
	}

	/** The key of a LINK record: words for the bans that its peer knows. */
	inline const std::string& BansKey()
	{
		static const std::string key = OwnKey + "xlines";
		return key;
	}

	/** A short word for a ban, by FNV-1a: the same in every process. That two bans have one word means at worst that one of them is not told. */
	inline std::string BanWord(XLine* x)
	{
		uint32_t hash = 2166136261u;
		for (const char c : x->type + " " + x->Displayable())
			hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
		std::string word;
		for (int shift = 24; shift >= 0; shift -= 8)
			AppendHex(word, static_cast<char>(hash >> shift));
		return word;
	}

	/** Words for all bans of the network. */
	inline std::string NetworkBans()
	{
		std::string words;
		EachNetworkBan([&](XLine* x) { words.append(words.empty() ? "" : " ").append(BanWord(x)); });
		return words;
	}

	/** Tells the peers of bans that only this process has: from its file, or set before the links were back. */
	inline void TellBans(Module* tree, const std::set<std::string>& known)
	{
		std::vector<XLine*> fresh;
		EachNetworkBan([&](XLine* x) {
			if (!known.count(BanWord(x)))
				fresh.push_back(x);
		});
		for (XLine* const x : fresh)
			tree->OnAddLine(nullptr, x);
	}
}
