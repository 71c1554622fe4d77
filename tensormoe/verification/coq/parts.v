(* What follows: lemmas. Every place along an axis in parts is that of some parts. *)
Lemma parts_of_place s : forall i, i < prod s -> exists k, Forall2 lt k s /\ i = flat s k.
Proof.
  induction s as [| n s IH]; intros i L; [exists []; cbn in *; split; [constructor | lia] |].
  rewrite prod_cons in L. assert (P : prod s <> 0) by (intros E; rewrite E in L; lia).
  destruct (IH (i mod prod s) (Nat.mod_upper_bound _ _ P)) as (k & F & E).
  exists (i / prod s :: k). split.
  - constructor; [| exact F]. apply Nat.div_lt_upper_bound; [exact P | rewrite Nat.mul_comm; exact L].
  - rewrite flat_cons by now apply lt_length. rewrite <- E, Nat.mul_comm. apply Nat.div_mod, P.
Qed.
Ltac by_parts s H :=
  let k := fresh in let F := fresh in let E := fresh in
  destruct (parts_of_place s _ H) as (k & F & E);
  repeat match goal with
    | G : Forall2 lt _ (_ :: _) |- _ => inversion G; clear G; subst
    | G : Forall2 lt _ [] |- _ => inversion G; clear G; subst
    end;
  unfold flat; cbn [flat_after].
