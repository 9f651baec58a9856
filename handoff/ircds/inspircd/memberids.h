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
	/** Gives memberships the ids that peers of links know them by. m_spanningtree gives each the next number of its own count, which begins anew in a new
	 * process and which no module can set: so it may give a number that is here already. Nobody is confused by that: a KICK names user, channel and
	 * number, and the number only tells whether that user has left that channel and come back meanwhile. */
	class MemberIDs
	{
		Module* const tree;

	 public:
		MemberIDs(Module* Tree) : tree(Tree) { }

		/** Has a membership announced. id: the one that it had; nullptr: the next one. */
		void Announce(Membership* memb, bool created, const Membership::Id* id)
		{
			CUList nobody;
			tree->OnUserJoin(memb, false, created, nobody);
			if (id)
				memb->id = *id;
		}
	};
}
