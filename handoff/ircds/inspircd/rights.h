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


// What of an operator's belongings this ircd's own configuration lets him keep.

#pragma once

namespace Handoff
{
	/** The rights that this ircd's own configuration has for an operator of the record, or none. */
	inline reference<OperInfo> OperNamed(const Line& r)
	{
		const ServerConfig::OperIndex& blocks = ServerInstance->Config->oper_blocks;
		const ServerConfig::OperIndex& types = ServerInstance->Config->OperTypes;
		ServerConfig::OperIndex::const_iterator block = blocks.find(r.Get(OwnKey + "operblock"));
		reference<OperInfo> info;
		if (block != blocks.end() && block->second->name == r.Get("oper"))
			info = block->second;
		else if (types.count(r.Get("oper")))
			info = types.find(r.Get("oper"))->second;
		if (info)
			info->init(); // its permissions, which the core reckons when somebody becomes one
		return info;
	}

	/** Whether the record is of an operator who is none here. */
	inline bool Fallen(const Line& r) { return !r.Get("oper").empty() && !OperNamed(r); }

	inline bool Allows(const OperInfo& info, const ModeHandler* mh)
	{
		const unsigned char letter = mh->GetModeChar();
		return ModeParser::IsModeChar(letter) && info.AllowedUserModes[letter - 'A'];
	}

	/** Those notice masks of a record that an operator has here. */
	inline std::string AllowedSnomasks(const OperInfo& info, const std::string& letters)
	{
		ModeHandler* const mh = ServerInstance->Modes->FindMode("snomask", MODETYPE_USER);
		std::string allowed;
		for (size_t i = 0; i < letters.length() && mh && Allows(info, mh); ++i)
			if ((IsLower(letters[i]) || IsUpper(letters[i])) && info.AllowedSnomasks[letters[i] - 'A'])
				allowed.push_back(letters[i]);
		return allowed;
	}

	/** Whether it is a status that the ircd gives to its operators and nobody can give (operprefix, ojoin). */
	inline bool IsOfOperators(const PrefixMode* pm) { return pm->GetLevelRequired(true) == UINT_MAX; }
}
