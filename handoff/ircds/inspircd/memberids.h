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


// Ids of memberships: a KICK of another server names one, and is dropped where the member has another.

#pragma once

namespace Handoff
{
	/** Gives memberships the ids that peers of links know them by. m_spanningtree gives each the next number, which it keeps to itself: that is found in
	 * it as the one place that held the number which it gave, and holds the one behind that now. Where it cannot be found, it may give one again. */
	class MemberIDs
	{
		Module* const tree;
		std::string before;    // the module's memory before it gave the first number
		Membership::Id* next;  // where it keeps the next one, or nullptr
		Membership::Id highest;
		bool looked;

		static Membership::Id At(const std::string& memory, size_t offset)
		{
			Membership::Id id;
			memcpy(&id, memory.data() + offset, sizeof(id));
			return id;
		}

		std::string Memory() const
		{
#ifdef __GLIBC__
			return std::string(reinterpret_cast<const char*>(tree), malloc_usable_size(tree));
#else
			return std::string();
#endif
		}

		void Look(Membership::Id given)
		{
			const std::string after = Memory();
			size_t found = 0, at = 0;
			for (size_t offset = 0; offset + sizeof(given) <= std::min(before.length(), after.length()); offset += sizeof(given))
			{
				if (At(before, offset) != given || At(after, offset) != given + 1)
					continue;
				at = offset;
				found++;
			}
			if (found == 1)
				next = reinterpret_cast<Membership::Id*>(reinterpret_cast<char*>(tree) + at);
			looked = true;
			before.clear();
		}

	 public:
		MemberIDs(Module* Tree) : tree(Tree), next(nullptr), highest(0), looked(false) { }

		/** Numbers up to the highest are not given again. */
		~MemberIDs()
		{
			if (next && *next <= highest)
				*next = highest + 1;
		}

		/** Has a membership announced. id: the one that it had; nullptr: the next one. */
		void Announce(Membership* memb, bool created, const Membership::Id* id)
		{
			CUList nobody;
			if (id && !looked)
				before = Memory();
			tree->OnUserJoin(memb, false, created, nobody);
			if (!id)
				return;
			if (!looked)
				Look(memb->id);
			memb->id = *id;
			highest = std::max(highest, *id);
		}
	};
}
