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


// What of an operator's belongings this ircd's own configuration lets him keep.

#pragma once

namespace Handoff
{
	/** The rights that this ircd's own configuration has for an operator of the record, or none. */
	inline OperRef OperOf(const Line& r) { return OperNamed(r.Get("oper"), r.Get(OwnKey + "operblock")); }

	/** Whether the record is of an operator who is none here. */
	inline bool Fallen(const Line& r) { return !r.Get("oper").empty() && !OperOf(r); }

	/** Those notice masks of a record that an operator has here. */
	inline std::string AllowedSnomasks(const OperRef& oper, const std::string& letters)
	{
		ModeHandler* const mh = ServerInstance->Modes.FindMode("snomask", MODETYPE_USER);
		std::string allowed;
		for (size_t i = 0; i < letters.length() && mh && MayUse(oper, mh); ++i)
			if ((IsLower(letters[i]) || IsUpper(letters[i])) && MayHear(oper, letters[i]))
				allowed.push_back(letters[i]);
		return allowed;
	}

	/** Whether it is a status that the ircd gives to its operators and nobody can give (operprefix, ojoin). */
	inline bool IsOfOperators(const PrefixMode* pm) { return pm->GetLevelRequired(true) == NobodysLevel; }
}
